"""The proxy before a real engine: what a manager that was taken over could try, on the wire."""

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from jelmore.drivers.docker_config import container_config, container_name, labels, reader_config, volume_name
from jelmore.drivers.docker_engine import DockerEngine, EngineAddress, EngineError
from jelmore.drivers.docker_file_sandboxes import DockerFileSandboxes
from jelmore.drivers.docker_sandboxes import DockerSandboxes
from jelmore.drivers.paths import RunPaths, new_key
from jelmore.drivers.skill_folders import SkillFolders
from jelmore.drivers.volume_backup import DockerVolumes
from jelmore.ports import SandboxSpec
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.sandbox_choice import SandboxChoice
from jelmore_engine_proxy import proxy as proxy_module
from tests.integration.sandboxes.conftest import ENGINE, IMAGE
from tests.integration.sandboxes.specs import new_spec, observed
from tests.support.engine_proxy import started_proxy
from tests.support.waiting import until

pytestmark = [pytest.mark.integration, pytest.mark.docker]


@dataclass(frozen=True, slots=True)
class World:
    """One installation behind the proxy, and the engine without it."""

    engine: DockerEngine
    behind: DockerEngine  # through the proxy
    sandboxes: DockerSandboxes
    address: EngineAddress
    instance: str
    paths: RunPaths

    def config(self, spec: SandboxSpec) -> dict[str, Any]:
        key = new_key()
        self.paths.prepare()
        self.paths.make_folder(key)
        gateway = self.paths.make_gateway_folder(spec.session_id, spec.generation)
        return container_config(spec, IMAGE, self.instance, self.paths.folder(key), gateway=gateway)

    async def create(self, spec: SandboxSpec, config: dict[str, Any]) -> Any:
        params = {"name": container_name(spec.session_id, spec.generation)}
        return await self.behind.call("POST", "containers/create", params=params, body=config)


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="jm-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def world(folder: Path) -> AsyncIterator[World]:
    instance, paths = f"test-{uuid4().hex[:8]}", RunPaths(folder / "run")
    proxy, address = await started_proxy(folder, paths.run_dir, instance, IMAGE)
    sandboxes = DockerSandboxes(address, image=IMAGE, instance=instance, paths=paths)
    made = World(DockerEngine(ENGINE), DockerEngine(address), sandboxes, address, instance, paths)
    yield made
    direct = DockerSandboxes(ENGINE, image=IMAGE, instance=instance, paths=paths)
    for leftover in await direct._list(None, readers=True):
        await direct._delete(leftover["Id"])
    for session_id in await direct.kept():
        await direct.erase(session_id)
    for each in (direct, sandboxes, made.engine, made.behind, proxy):
        await each.close()


async def refused(call: Awaitable[Any], words: str) -> None:
    with pytest.raises(EngineError, match=words) as error:
        await call
    assert error.value.status == 403


async def test_a_privileged_container_is_refused_with_a_reason_and_not_made(world: World) -> None:
    spec = new_spec()
    config = world.config(spec)
    config["HostConfig"]["Privileged"] = True
    await refused(world.create(spec, config), "engine proxy: HostConfig: 'Privileged'")
    del config["HostConfig"]["Privileged"]
    config["HostConfig"]["Mounts"].append({"Type": "bind", "Source": "/", "Target": "/host"})
    await refused(world.create(spec, config), "Mounts: '/' at '/host'")
    assert await world.sandboxes.found() == []


async def test_the_driver_reports_a_refusal_in_its_words(world: World) -> None:
    other = DockerSandboxes(world.address, image="debian:trixie-slim", instance=world.instance, paths=world.paths)
    with pytest.raises(
        RefusedError, match="image: engine proxy: the image debian:trixie-slim is neither JELMORE_RUNNER_IMAGE"
    ):
        await other.check()
    await other.close()


async def test_calls_on_others_objects_are_refused(world: World) -> None:
    spec = new_spec()
    name, volume = f"jelmore-{spec.session_id}-1", volume_name(spec.session_id)
    marks = labels(spec.session_id, "there")
    await world.engine.call("POST", "volumes/create", body={"Name": volume, "Labels": marks})
    config = {"Image": IMAGE, "Labels": marks, "Entrypoint": ["sleep", "60"], "Env": ["A=secret"]}
    made = await world.engine.call("POST", "containers/create", params={"name": name}, body=config)
    try:
        seen = await world.behind.call("GET", f"containers/{name}/json")
        assert seen["Id"] == made["Id"]
        assert "secret" not in json.dumps(seen)
        for reference in (name, made["Id"], made["Id"][:12]):
            for method, call in (
                ("POST", "start"),
                ("POST", "pause"),
                ("GET", "logs"),
                ("GET", "archive?path=/session"),
                ("DELETE", ""),
            ):
                path, _, query = f"containers/{reference}/{call}".rstrip("/").partition("?")
                params = dict([query.split("=")]) if query else None
                await refused(world.behind.call(method, path, params=params), "not of the installation")
        await refused(world.behind.call("POST", f"containers/{name}/exec", body={"Cmd": ["sh"]}), "not a call")
        await refused(world.behind.call("DELETE", f"volumes/{volume}"), "not of the installation")
        await refused(
            world.create(replace(spec, generation=2), world.config(replace(spec, generation=2))), "not of the"
        )
        assert (await world.engine.call("GET", f"containers/{name}/json"))["State"]["Status"] == "created"
    finally:
        await world.engine.call("DELETE", f"containers/{made['Id']}", params={"force": True})
        await world.engine.call("DELETE", f"volumes/{volume}")


async def test_a_volume_that_is_a_folder_of_the_host_is_not_mounted(world: World, folder: Path) -> None:
    spec = new_spec()
    options = {"type": "none", "o": "bind", "device": str(folder)}
    body = {"Name": volume_name(spec.session_id), "Labels": labels(spec.session_id, world.instance)}
    await refused(world.behind.call("POST", "volumes/create", body={**body, "DriverOpts": options}), "DriverOpts")
    await world.engine.call("POST", "volumes/create", body={**body, "DriverOpts": options})
    await refused(world.create(spec, world.config(spec)), "options of its driver")


async def test_a_link_in_place_of_a_folder_is_refused_before_a_create_and_before_a_start(world: World) -> None:
    spec = new_spec()
    config = world.config(spec)
    box = Path(config["HostConfig"]["Mounts"][1]["Source"])

    def replaced(path: Path) -> None:
        shutil.move(path, path.with_name(f".{path.name}"))
        path.symlink_to("/etc")

    def put_back(path: Path) -> None:
        path.unlink()
        shutil.move(path.with_name(f".{path.name}"), path)

    for path in (box, box.parent):
        replaced(path)
        await refused(world.create(spec, config), "is not a folder")
        put_back(path)
    made = await world.create(spec, config)
    replaced(box)
    await refused(world.behind.call("POST", f"containers/{made['Id']}/start"), "is not a folder")
    put_back(box)
    await world.behind.call("POST", f"containers/{made['Id']}/start")


async def test_a_container_for_reading_is_never_started(world: World) -> None:
    spec = new_spec()
    params = {"name": f"jelmore-{spec.session_id}-reader-0a1b2c3d"}
    config = reader_config(spec.session_id, IMAGE, world.instance)
    made = await world.behind.call("POST", "containers/create", params=params, body=config)
    await refused(world.behind.call("POST", f"containers/{made['Id']}/start"), "never started")


async def test_a_workspace_is_saved_and_restored_through_it(world: World, tmp_path: Path) -> None:
    spec = new_spec()
    volumes = DockerVolumes(world.behind, image=IMAGE, instance=world.instance)
    await world.sandboxes.start(spec)

    await volumes.save(spec.session_id, tmp_path / "saved.tar", 2**30)
    assert (tmp_path / "saved.tar").stat().st_size > 1024
    sandbox = await observed(world.sandboxes, spec)
    await refused(_put(world, sandbox.id, tmp_path / "saved.tar"), "never started")
    await world.sandboxes.remove(sandbox.id)
    await world.sandboxes.erase(spec.session_id)
    await volumes.restore(spec.session_id, tmp_path / "saved.tar")
    assert await world.sandboxes.has_workspace(spec.session_id)
    await volumes.save(spec.session_id, tmp_path / "again.tar", 2**30)
    assert (tmp_path / "again.tar").stat().st_size == (tmp_path / "saved.tar").stat().st_size


async def _put(world: World, container: str, source: Path) -> None:
    await world.behind.send(f"containers/{container}/archive", source, params={"path": "/"}, within_s=20)


async def test_a_sandbox_for_files_runs_through_it(world: World) -> None:
    spec = new_spec()
    files = DockerFileSandboxes(world.address, image=IMAGE, instance=world.instance, paths=world.paths)
    started = await files.start(spec.session_id, make=True)
    control = Path(started.control.text.removeprefix("unix:"))
    await until(_exists(control.parent / "box" / control.name))
    await files.remove(started.id)
    await files.close()


async def test_a_profile_s_image_and_skills_are_allowed_while_its_file_names_them(world: World, folder: Path) -> None:
    image = f"jelmore-test/profile-{world.instance}:1"
    await world.engine.call(
        "POST", f"images/{IMAGE}/tag", params=dict(zip(("repo", "tag"), image.split(":"), strict=True))
    )
    (folder / "profile-skills" / "review").mkdir(parents=True)
    skills = SkillFolders(profiles=folder / "profile-skills")
    chosen = SandboxChoice(image, "review")
    sandboxes = DockerSandboxes(world.address, image=IMAGE, instance=world.instance, paths=world.paths, skills=skills)
    spec = replace(new_spec(), choice=chosen, ahead=True)
    try:
        with pytest.raises(RefusedError, match="nor the image of a profile in JELMORE_PROFILES"):
            await sandboxes.recipe(chosen)
        (folder / "profiles.toml").write_text(f'[profiles.review]\nimage = "{image}"\nskills_dir = "review"\n')
        await sandboxes.recipe(chosen)
        await sandboxes.start(spec)
        started = await world.engine.call("GET", f"containers/{container_name(spec.session_id, 1)}/json")
        assert (started["Config"]["Image"], started["State"]["Running"]) == (image, True)
        assert str(folder / "profile-skills" / "review") in {each["Source"] for each in started["Mounts"]}
        (folder / "profiles.toml").write_text("")
        with pytest.raises(RefusedError, match="nor the image of a profile"):
            await sandboxes.start(replace(new_spec(), choice=chosen))
        gone = replace(chosen, image="gone:1")
        (folder / "profiles.toml").write_text('[profiles.gone]\nimage = "gone:1"\n')
        with pytest.raises(RefusedError, match="no image gone:1"):
            await sandboxes.recipe(gone)
    finally:
        await sandboxes.close()
        await world.engine.call("DELETE", f"images/{image}", params={"force": True})


def _exists(path: Path) -> Callable[[], Awaitable[bool]]:
    async def exists() -> bool:
        return path.exists()

    return exists


async def exchanged(address: EngineAddress, raw: bytes) -> bytes:
    """Return everything that the proxy answers to these bytes."""
    reader, writer = await asyncio.open_unix_connection(address.host.removeprefix("unix://"))
    try:
        writer.write(raw)
        await writer.drain()
        async with asyncio.timeout(20):
            return await reader.read()
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


HEAD = "POST /v1.41/volumes/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("raw", "statuses"),
    [
        (HEAD + "Transfer-Encoding: chunked\r\n\r\n" + ("10000\r\n" + " " * 65536 + "\r\n") * 8, ["403"]),
        (HEAD + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ["400"]),
        (HEAD + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ", ["400"]),
        (HEAD + "Content-Length: 2\r\n\r\n{}GET /_ping HTTP/1.1\r\nHost: x\r\n\r\n", ["403"]),
        ("GET /v1.41/%2e%2e/info HTTP/1.1\r\nHost: x\r\n\r\n", ["403"]),
        ("GET //v1.41/info HTTP/1.1\r\nHost: x\r\n\r\n", ["403"]),
        ("GET http://x/v1.41/info HTTP/1.1\r\nHost: x\r\n\r\n", ["403"]),
        ("CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", ["403"]),
        ("GET /_ping HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n", ["403"]),
        (HEAD + "Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", ["403"]),
        ("GET /v1.41/info HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", ["403"]),
    ],
    ids=[
        "large",
        "two-framings",
        "two-lengths",
        "pipelined",
        "dots",
        "slashes",
        "absolute",
        "connect",
        "upgrade",
        "coded",
        "body",
    ],
)
async def test_tricks_on_the_wire_end_at_the_proxy(world: World, raw: str, statuses: list[str]) -> None:
    answered = await exchanged(world.address, raw.encode())
    assert [line.split()[1].decode() for line in answered.split(b"\r\n") if line.startswith(b"HTTP/1.")] == statuses


async def test_an_engine_that_is_away_is_a_failure_that_may_pass(folder: Path) -> None:
    proxy, address = await started_proxy(folder, folder, "x", IMAGE, engine=f"unix://{folder}/nothing.sock")
    engine = DockerSandboxes(address, image=IMAGE, instance="x", paths=RunPaths(folder / "run"))
    with pytest.raises(DependencyError, match="does not answer"):
        await engine.check()
    await engine.close()
    await proxy.close()


async def test_only_so_many_calls_run_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy_module, "MAX_CALLS", 1)
    params = {"filters": {"label": [f"jelmore.instance={world.instance}"]}}
    async with world.behind.lines("events", params=params, quiet_s=30):
        with pytest.raises(EngineError, match="at once") as error:
            await world.behind.call("GET", "info")
        assert error.value.status == 503
    monkeypatch.setattr(proxy_module, "MAX_CALLS", 8)

    async def free() -> bool:
        return "DockerRootDir" in await world.behind.call("GET", "info")

    await until(free)
