"""Volumes of a Docker engine out of a backup: into an engine that has none of them, with owners, modes and labels."""

import io
import tarfile
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from jelmore.backup_command import backup, restore
from jelmore.drivers.docker_config import INSTANCE, SESSION, volume_name
from jelmore.drivers.docker_engine import DockerEngine
from jelmore.drivers.docker_workspaces import DockerWorkspaces
from jelmore.drivers.paths import RunPaths
from jelmore.drivers.postgres_backup import drop
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.volume_backup import DockerVolumes, TooLargeError
from jelmore.embedded import Postgres
from jelmore.session.agent_uids import AGENT_UIDS
from jelmore.session.errors import RefusedError
from jelmore.settings import Settings
from tests.integration.sandboxes.conftest import IMAGE
from tests.support.engine_relay import ENGINE_SOCKET
from tests.support.records import created, line
from tests.support.servers import database

pytestmark = [pytest.mark.integration, pytest.mark.docker, pytest.mark.timeout(240)]


def _member(name: str, content: bytes = b"", **more: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in more.items():
        setattr(info, field, value)
    return info, content


def _volume_of_a_session(folder: Path) -> Path:
    """Return a tar of what a session leaves: the agent's files, a link, an executable, the runner's journal."""
    directory: dict[str, Any] = {"type": tarfile.DIRTYPE}
    agent: dict[str, Any]
    runner: dict[str, Any]
    agent, runner = {"uid": AGENT_UIDS[-1], "gid": 1000}, {"uid": 10001, "gid": 10001}
    members = [
        _member("session/workspace", mode=0o2770, **directory, **agent),
        _member("session/workspace/run", b"#!/bin/sh\n", mode=0o755, **agent),
        _member("session/workspace/link", type=tarfile.SYMTYPE, linkname="run", **agent),
        _member("session/workspace/naïve name", b"text", mode=0o640, **agent),
        _member("session/state", mode=0o700, **directory, **runner),
        _member("session/state/journal.jsonl", b"{}\n", mode=0o600, **runner),
    ]
    target = folder / "volume.tar"
    with tarfile.open(target, "w") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return target


def _described(path: Path) -> dict[str, tuple[object, ...]]:
    with tarfile.open(path) as archive:
        return {
            each.name: (each.type, each.mode & 0o7777, each.uid, each.gid, each.linkname, each.size)
            for each in archive.getmembers()
            if "/" in each.name
        }


def _settings(url: str, folder: Path, instance: str) -> Settings:
    return Settings(
        _env_file=None,
        database_url=SecretStr(url),
        run_dir=folder,
        data_dir=folder / "data",
        docker_host=f"unix://{ENGINE_SOCKET}",
        runner_image=IMAGE,
        instance=instance,
    )


async def _remove(engine: DockerEngine, session_id: UUID) -> None:
    await engine.call("DELETE", f"volumes/{volume_name(session_id)}", params={"force": True})


async def test_volumes_come_back_into_an_empty_engine(
    engine: DockerEngine, run_paths: RunPaths, database_url: str, postgres_server: Postgres, tmp_path: Path
) -> None:
    first, second = f"test-{uuid4().hex[:8]}", f"test-{uuid4().hex[:8]}"
    other = database(postgres_server, f"volumes_{uuid4().hex[:8]}")
    store = PostgresStore(database_url)
    session = await created(store)
    await store.save(session, [], [line(1)])
    await store.close()
    volumes = DockerVolumes(engine, image=IMAGE, instance=first)
    file = tmp_path / "jelmore.tar"
    said: list[str] = []
    try:
        await volumes.restore(session.id, _volume_of_a_session(tmp_path))
        await volumes.save(session.id, tmp_path / "before.tar", 2**30)
        with pytest.raises(TooLargeError):
            await volumes.save(session.id, tmp_path / "part.tar", 1000)
        assert (tmp_path / "part.tar").stat().st_size <= 1000
        await backup(_settings(database_url, run_paths.run_dir, first), file, said.append)
        assert f"workspace: {session.id}" in said
        await _remove(engine, session.id)
        assert await volumes.kept() == [], "the engine has nothing of the installation"

        # The new machine may have another name: what is restored belongs to it.
        there = _settings(other, run_paths.run_dir, second)
        await restore(there, file, said.append, embedded=False)
        found = await engine.call("GET", f"volumes/{volume_name(session.id)}")
        assert found["Labels"] == {SESSION: str(session.id), INSTANCE: second}
        restored = DockerVolumes(engine, image=IMAGE, instance=second)
        assert await restored.kept() == [session.id]
        assert not await DockerWorkspaces(engine, first).exists(session.id)
        await restored.save(session.id, tmp_path / "after.tar", 2**30)
        assert _described(tmp_path / "after.tar") == _described(tmp_path / "before.tar")
        assert _described(tmp_path / "after.tar")["session/state/journal.jsonl"][1:4] == (0o600, 10001, 10001)
        agents = _described(tmp_path / "after.tar")["session/workspace"]
        assert agents[1:4] == (0o2770, AGENT_UIDS[-1], 1000), "the folder's owner says who the agent is"
        with tarfile.open(tmp_path / "after.tar") as archive:
            kept = archive.extractfile("session/workspace/naïve name")
            assert kept is not None
            assert kept.read() == b"text"
        with pytest.raises(RefusedError, match="exist already"):
            await restore(there, file, said.append, embedded=False)
        containers = await engine.call("GET", "containers/json", params={"all": True})
        assert not [each for each in containers if each["Labels"].get(SESSION) == str(session.id)]
        again = PostgresStore(other)
        assert [each.seq for each in await again.output(session.id, 0, 10)] == [1]
        await again.close()
    finally:
        await _remove(engine, session.id)
        await drop(other)


async def test_a_volume_of_another_installation_is_never_written_to(engine: DockerEngine, tmp_path: Path) -> None:
    session_id, source = uuid4(), _volume_of_a_session(tmp_path)
    theirs = DockerVolumes(engine, image=IMAGE, instance=f"test-{uuid4().hex[:8]}")
    ours = DockerVolumes(engine, image=IMAGE, instance=f"test-{uuid4().hex[:8]}")
    try:
        await theirs.restore(session_id, source)
        assert session_id in await ours.taken()
        assert await ours.kept() == []
        with pytest.raises(RefusedError, match="exists already"):
            await ours.restore(session_id, source)
        assert await theirs.kept() == [session_id], "it is there, and theirs"
    finally:
        await _remove(engine, session_id)


async def test_what_a_killed_backup_left_and_an_erased_session_do_not_end_the_next(
    engine: DockerEngine, tmp_path: Path
) -> None:
    session_id, gone, instance = uuid4(), uuid4(), f"test-{uuid4().hex[:8]}"
    volumes = DockerVolumes(engine, image=IMAGE, instance=instance)
    try:
        await volumes.restore(session_id, _volume_of_a_session(tmp_path))
        async with volumes._mounted(session_id):  # a backup that is killed here leaves its container
            assert await volumes.save(session_id, tmp_path / "saved.tar", 2**30)
        assert not await volumes.save(gone, tmp_path / "gone.tar", 2**30)
        found = await engine.call("GET", "volumes", params={"filters": {"name": [volume_name(gone)]}})
        assert not found["Volumes"], "the engine makes no empty volume in its place"
        await volumes.remove(session_id)
        assert await volumes.kept() == []
    finally:
        await _remove(engine, session_id)
