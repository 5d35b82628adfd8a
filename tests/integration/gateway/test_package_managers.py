"""Package managers that the image does not have, on this machine, with a session's proxy variables.

The hosts stand on loopback behind the proxy. What runs inside of a sandbox is in `tests/e2e/test_network.py`.
"""

import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.integration.gateway.egress_world import internet
from tests.integration.gateway.tools import files, run, works

pytestmark = pytest.mark.integration


def debian_repository(folder: Path) -> None:
    """Make a repository with one package, as apt wants it."""
    control = folder / "tiny" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    about = (
        "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\nDescription: tiny\n"
    )
    control.write_text(about)
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", "tiny", "tiny.deb"], cwd=folder, check=True)
    package = (folder / "tiny.deb").read_bytes()
    digest = hashlib.sha256(package).hexdigest()
    (folder / "Packages").write_text(f"{about}Filename: ./tiny.deb\nSize: {len(package)}\nSHA256: {digest}\n")


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


def crate_registry(folder: Path) -> None:
    """Make a sparse registry with one crate."""
    with tarfile.open(folder / "tiny-1.0.0.crate", "w:gz") as crate:
        manifest = '[package]\nname = "tiny"\nversion = "1.0.0"\nedition = "2021"\n'
        for name, text in (("Cargo.toml", manifest), ("src/lib.rs", "pub fn tiny() {}\n")):
            entry = tarfile.TarInfo(f"tiny-1.0.0/{name}")
            entry.size = len(text)
            crate.addfile(entry, io.BytesIO(text.encode()))
    digest = hashlib.sha256((folder / "tiny-1.0.0.crate").read_bytes()).hexdigest()
    index = folder / "index"
    (index / "ti" / "ny").mkdir(parents=True)
    (index / "config.json").write_text(json.dumps({"dl": "http://crates.example/{crate}-{version}.crate"}))
    version = {"name": "tiny", "vers": "1.0.0", "deps": [], "cksum": digest, "features": {}, "yanked": False}
    (index / "ti" / "ny" / "tiny").write_text(json.dumps(version) + "\n")


@pytest.mark.skipif(not works(["cargo", "--version"]), reason="cargo is not here")
async def test_cargo_fetches_a_crate_where_the_host_is_allowed(tmp_path: Path) -> None:
    served, project = tmp_path / "served", tmp_path / "project"
    served.mkdir()
    crate_registry(served)
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


def npm_registry(folder: Path) -> None:
    """Make a registry with one package."""
    package = {"name": "tiny", "version": "1.0.0"}
    with tarfile.open(folder / "tiny-1.0.0.tgz", "w:gz") as bundle:
        for name, text in (("package.json", json.dumps(package)), ("index.js", "console.log('tiny')")):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            bundle.addfile(entry, io.BytesIO(text.encode()))
    content = (folder / "tiny-1.0.0.tgz").read_bytes()
    dist = {
        "tarball": "http://npm.example/tiny-1.0.0.tgz",
        "shasum": hashlib.sha1(content, usedforsecurity=False).hexdigest(),
        "integrity": "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode(),
    }
    times = {"created": "2020-01-01T00:00:00.000Z", "1.0.0": "2020-01-01T00:00:00.000Z"}
    listing = {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": {**package, "dist": dist}}}
    (folder / "tiny").write_text(json.dumps({**listing, "time": times}))


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
    npm_registry(served)
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
