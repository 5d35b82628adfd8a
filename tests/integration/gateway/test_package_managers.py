"""Package managers that the image does not have, on this machine, with a session's proxy variables.

The hosts stand on loopback behind the proxy. What runs inside of a sandbox is in `tests/e2e/test_network.py`.
"""

import os
import shutil
from pathlib import Path

import pytest

from tests.integration.gateway.egress_world import internet
from tests.integration.gateway.tools import files, run, works
from tests.support.package_hosts import crate_registry, debian_repository, npm_registry

pytestmark = pytest.mark.integration


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="apt is not here")
async def test_apt_reads_an_index_and_downloads_where_the_host_is_allowed(tmp_path: Path) -> None:
    served, here = tmp_path / "served", tmp_path / "here"
    for path in (served, here / "state" / "lists" / "partial", here / "cache" / "archives" / "partial"):
        path.mkdir(parents=True)
    debian_repository(served)
    (here / "sources.list").write_text("deb [trusted=yes] http://debian.example/ ./\n")
    (here / "status").touch()
    options = {
        "Dir::Etc::sourcelist": here / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::main": "/dev/null",
        "Dir::Etc::parts": here / "none",
        "Dir::State": here / "state",
        "Dir::State::status": here / "status",
        "Dir::Cache": here / "cache",
        "APT::Sandbox::User": "root",
        "Acquire::Retries": "0",
    }
    (here / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in options.items()))
    config = {"APT_CONFIG": str(here / "apt.conf")}
    async with internet("custom", "debian.example") as world:
        world.internet.host("debian.example")
        await world.serve(files(served), 80)
        assert (await run(world, ["apt-get", "update"], here, **config))[0] == 0
        code, printed = await run(world, ["apt-get", "download", "tiny"], here, **config)
        assert code == 0, printed
        (package,) = here.glob("tiny_1.0_*.deb")
        assert package.read_bytes() == (served / "tiny.deb").read_bytes()
        assert world.records == []
        world.allow("custom", "other.example")
        _, printed = await run(world, ["apt-get", "update"], here, **config)
        assert "403" in printed
        assert set(world.reasons()) == {"host_not_allowed"}


@pytest.mark.skipif(not works(["cargo", "--version"]), reason="cargo is not here")
async def test_cargo_fetches_a_crate_where_the_host_is_allowed(tmp_path: Path) -> None:
    served, project = tmp_path / "served", tmp_path / "project"
    served.mkdir()
    crate_registry(served, "http://crates.example")
    (project / "src").mkdir(parents=True)
    (project / "src" / "lib.rs").touch()
    (project / ".cargo").mkdir()
    (project / ".cargo" / "config.toml").write_text(
        '[registries.here]\nindex = "sparse+http://crates.example/index/"\n[net]\nretry = 0\n'
    )
    dependency = '[dependencies]\ntiny = { version = "1", registry = "here" }\n'
    (project / "Cargo.toml").write_text(f'[package]\nname = "mine"\nversion = "0.1.0"\nedition = "2021"\n{dependency}')
    homes = {name: os.environ[name] for name in ("RUSTUP_HOME", "RUSTUP_TOOLCHAIN") if name in os.environ}
    homes.setdefault("RUSTUP_HOME", str(Path.home() / ".rustup"))
    async with internet("custom", "crates.example") as world:
        world.internet.host("crates.example")
        await world.serve(files(served), 80)
        code, printed = await run(world, ["cargo", "fetch"], project, CARGO_HOME=str(tmp_path / "home"), **homes)
        assert code == 0, printed
        assert list((tmp_path / "home").glob("registry/src/*/tiny-1.0.0/src/lib.rs"))
        assert world.records == []
        world.allow("none")
        code, printed = await run(world, ["cargo", "fetch"], project, CARGO_HOME=str(tmp_path / "other"), **homes)
        assert code != 0
        assert "403" in printed
        assert set(world.reasons()) == {"no_network"}


@pytest.mark.parametrize(
    "command",
    [
        ["yarn", "add", "tiny", "--registry", "http://npm.example/", "--non-interactive", "--no-lockfile"],
        ["pnpm", "add", "tiny", "--registry", "http://npm.example/"],
    ],
    ids=lambda command: str(command[0]),
)
async def test_yarn_and_pnpm_install_where_the_host_is_allowed(tmp_path: Path, command: list[str]) -> None:
    if not works([command[0], "--version"]):
        pytest.skip(f"{command[0]} is not here")
    served, projects = tmp_path / "served", [tmp_path / name for name in ("first", "second")]
    served.mkdir()
    npm_registry(served, "http://npm.example")
    for project in projects:
        project.mkdir()
        (project / "package.json").write_text('{"name": "mine", "version": "1.0.0", "private": true}')
    async with internet("custom", "npm.example") as world:
        world.internet.host("npm.example")
        await world.serve(files(served), 80)
        code, printed = await run(world, command, projects[0], npm_config_fetch_retries="0")
        assert code == 0, printed
        assert (projects[0] / "node_modules" / "tiny" / "index.js").read_text() == "console.log('tiny')"
        assert world.records == []
        world.allow("none")
        code, printed = await run(world, command, projects[1], npm_config_fetch_retries="0")
        assert code != 0
        assert set(world.reasons()) == {"no_network"}
