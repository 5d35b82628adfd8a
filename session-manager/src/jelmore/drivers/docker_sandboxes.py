"""`Sandboxes` on a Docker engine: one container and one volume per session.

Everything is named after the session and its generation and carries our labels, so a manager that died anywhere leaves
nothing that the next one cannot recognise. Every verb may run twice, and two managers may run it at once.
"""

import asyncio
import io
import secrets
import shutil
import socket
import tarfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.docker_config import (
    GENERATION,
    INSTANCE,
    READER,
    SESSION,
    container_config,
    container_name,
    found_sandbox,
    labels,
    reader_config,
    sandbox_of,
    volume_name,
)
from jelmore.drivers.docker_engine import START_S, DockerEngine, EngineAddress, EngineError
from jelmore.drivers.docker_events import DockerEvents
from jelmore.drivers.paths import RunPaths
from jelmore.ports import Address, FoundSandbox, SandboxSpec
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.world import Sandbox, SandboxState

JOURNAL: Final = "/session/state/journal.jsonl"
MOST_JOURNAL_BYTES: Final = 256 * 1024 * 1024
MOST_LOG_BYTES: Final = 4 * 1024 * 1024
ARCHIVE_S: Final = 120.0
GONE_S: Final = 15.0
THERE_S: Final = 5.0
POLL_S: Final = 0.03
READER_LEFT_S: Final = 600.0
"""A reader older than this belongs to nobody: reading takes seconds."""


class DockerSandboxes:
    """Containers of one installation, told apart by `instance`."""

    def __init__(self, address: EngineAddress, *, image: str, instance: str, paths: RunPaths) -> None:
        self._engine = DockerEngine(address)
        self._image = image
        self._instance = instance
        self._paths = paths
        self._events = DockerEvents(self._engine, instance)
        self._local = address.host.startswith("unix:")
        self._disk: Path | None = None
        self._disk_sought = False

    async def check(self) -> None:
        """Return when the engine answers and has the image. Raises DependencyError, RefusedError."""
        try:
            await self._engine.call("GET", f"images/{self._image}/json")
        except EngineError as error:
            raise self._refused(error, "look at the image") from None

    async def observe(self, session_id: UUID) -> Sandbox | None:
        """Return the newest container of a session."""
        listed = await self._list(session_id)
        if not listed:
            return None
        newest = max(listed, key=_generation)
        try:
            sandbox = sandbox_of(await self._engine.call("GET", f"containers/{newest['Id']}/json"))
        except EngineError as error:
            if error.absent:
                return None
            raise _failed(error, "inspect a container") from None
        return replace(sandbox, oom=sandbox.oom or self._events.ran_out_of_memory(sandbox.container_id))

    async def found(self) -> Sequence[FoundSandbox]:
        """Return the newest container of every session of this installation.

        Readers that a crash left behind, and containers older than their session's newest, are removed on the way.
        """
        listed = await self._list(None, readers=True)
        left = [each for each in listed if READER in each["Labels"] and time.time() - each["Created"] > READER_LEFT_S]
        sandboxes = [
            sandbox for each in listed if READER not in each["Labels"] and (sandbox := found_sandbox(each)) is not None
        ]
        newest = {found.session_id: found for found in sorted(sandboxes, key=lambda found: found.sandbox.generation)}
        older = [found.sandbox.container_id for found in sandboxes if found is not newest[found.session_id]]
        for container_id in [*(each["Id"] for each in left), *older]:
            await self._delete(container_id)
        return list(newest.values())

    async def start(self, spec: SandboxSpec) -> None:
        """Make the volume, the sockets' folder and the container of this generation, and start it once.

        A container that has run before is left as it is: its end is a fact to be seen, not to be undone. An older
        generation is removed first; under a newer one nothing happens. Raises RefusedError for a missing image.
        """
        name = container_name(spec.session_id, spec.generation)
        listed = await self._list(spec.session_id)
        if any(_generation(each) > spec.generation for each in listed):
            return
        older = [each["Id"] for each in listed if _generation(each) < spec.generation]
        if older:
            await asyncio.gather(*(self._delete(each) for each in older))
        try:
            if len(older) == len(listed):
                await self._create(spec, name)
            elif all(each["State"] != "created" for each in listed if each["Id"] not in older):
                return
            self._paths.make_session(spec.session_id)
            await self._start_created(name)
        except EngineError as error:
            raise self._refused(error, "start a container") from None

    async def pause(self, session_id: UUID) -> None:
        """Pause the session's container."""
        await self._turn(session_id, "pause", SandboxState.RUNNING)

    async def unpause(self, session_id: UUID) -> None:
        """Let the session's container go on."""
        await self._turn(session_id, "unpause", SandboxState.PAUSED)

    async def remove(self, session_id: UUID) -> None:
        """Kill and remove every container of the session, and its sockets. The volume stays."""
        listed = await self._list(session_id, readers=True)
        # The folder first: what another manager starts while the containers go must not lose its sockets.
        await asyncio.to_thread(self._paths.clear_session, session_id)
        await asyncio.gather(*(self._delete(each["Id"]) for each in listed))

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's containers, sockets and volume."""
        await self.remove(session_id)
        try:
            await self._engine.call("DELETE", f"volumes/{volume_name(session_id)}")
        except EngineError as error:
            if not error.absent:
                raise _failed(error, "remove a volume") from None

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions of this installation whose volume exists."""
        answer = await self._call("GET", "volumes", params={"filters": {"label": [f"{INSTANCE}={self._instance}"]}})
        return [UUID(volume["Labels"][SESSION]) for volume in answer["Volumes"] or []]

    async def sockets(self) -> Sequence[UUID]:
        """Return the sessions that have a folder for sockets."""
        return await asyncio.to_thread(self._paths.sessions)

    async def log_tail(self, session_id: UUID, lines: int) -> tuple[str, ...]:
        """Return the last lines the newest container printed."""
        listed = await self._list(session_id)
        if not listed:
            return ()
        path = f"containers/{max(listed, key=_generation)['Id']}/logs"
        params = {"stdout": True, "stderr": True, "tail": lines}
        try:
            raw = await self._engine.read(path, params=params, most_bytes=MOST_LOG_BYTES, within_s=30)
        except EngineError as error:
            if error.absent or error.clashes:  # gone, or about to be
                return ()
            raise _failed(error, "read a log") from None
        return tuple(_log_text(raw).splitlines()[-lines:])

    async def journal(self, session_id: UUID) -> bytes:
        """Return the journal, through the session's container or one that is made for it and never started.

        Raises RefusedError when it is larger than 256 MiB.
        """
        listed = await self._list(session_id)
        if listed:
            return await self._read_file(max(listed, key=_generation)["Id"], JOURNAL)
        try:
            # Creating a container would create the volume: look first.
            await self._engine.call("GET", f"volumes/{volume_name(session_id)}")
        except EngineError as error:
            if error.absent:
                return b""
            raise _failed(error, "look at a volume") from None
        return await self._read_through_reader(session_id, JOURNAL)

    async def free_bytes(self) -> int | None:
        """Return the free disk where the engine keeps volumes; None for an engine whose disk is not seen from here."""
        if not self._disk_sought:
            self._disk, self._disk_sought = await self._find_disk(), True
        try:
            return shutil.disk_usage(self._disk).free if self._disk is not None else None
        except OSError:
            return None

    async def _find_disk(self) -> Path | None:
        """Return a folder on the file system of the engine's data, None when there is none here.

        On the engine's host that is its root directory. In a container of that engine it is our own root, which the
        engine keeps at the same place; told by our host name, which it made from the container's id.
        """
        root = Path((await self._call("GET", "info", params={}))["DockerRootDir"])
        if self._local and root.is_dir():
            return root
        return Path("/") if await self._exists(f"containers/{socket.gethostname()}") else None

    def control(self, session_id: UUID) -> Address:
        """Return where the runner's control socket is."""
        return self._paths.control(session_id)

    def public(self, session_id: UUID) -> Address:
        """Return where the runner's public socket is."""
        return self._paths.public(session_id)

    def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container may have changed, from where the last stream ended."""
        return self._events.changes()

    async def close(self) -> None:
        """Close the connections to the engine."""
        await self._engine.close()

    async def _create(self, spec: SandboxSpec, name: str) -> None:
        # Before anything is made: a missing image must not leave a volume and a folder behind.
        await self._engine.call("GET", f"images/{self._image}/json")
        self._paths.prepare()
        self._paths.make_session(spec.session_id)
        volume = {"Name": volume_name(spec.session_id), "Labels": labels(spec.session_id, self._instance)}
        await self._engine.call("POST", "volumes/create", body=volume)
        config = container_config(spec, self._image, self._instance, self._paths)
        try:
            await self._engine.call("POST", "containers/create", params={"name": name}, body=config, within_s=START_S)
        except EngineError as error:
            if not error.clashes:
                raise
            await self._until_there(f"containers/{name}")  # another manager was faster; its name comes before it

    async def _start_created(self, name: str) -> None:
        """Start a container unless it has been started before."""
        inspected = await self._engine.call("GET", f"containers/{name}/json")
        if inspected["State"]["Status"] == "created":
            await self._engine.call("POST", f"containers/{name}/start", within_s=START_S)

    async def _turn(self, session_id: UUID, verb: str, when: SandboxState) -> None:
        """Pause or unpause; a container that is not in the state for it needs neither."""
        sandbox = await self.observe(session_id)
        if sandbox is None or sandbox.state is not when:
            return
        try:
            await self._engine.call("POST", f"containers/{sandbox.container_id}/{verb}")
        except EngineError as error:
            after = await self.observe(session_id)
            if after is not None and after.state is when:
                raise _failed(error, f"{verb} a container") from None

    async def _delete(self, container_id: str) -> None:
        """Kill and remove one container; return when it is gone."""
        path = f"containers/{container_id}"
        try:
            await self._engine.call("DELETE", path, params={"force": True}, within_s=START_S)
        except EngineError as error:
            if error.absent:
                return
            if not error.clashes:  # 409: its removal is already on the way
                raise _failed(error, "remove a container") from None
        else:
            return
        await self._until_gone(path)

    async def _until_gone(self, path: str) -> None:
        until = time.monotonic() + GONE_S
        while await self._exists(path):
            if time.monotonic() > until:
                raise DependencyError("docker", f"a container is still being removed after {GONE_S:g} s")
            await asyncio.sleep(POLL_S)

    async def _until_there(self, path: str) -> None:
        until = time.monotonic() + THERE_S
        while not await self._exists(path):
            if time.monotonic() > until:
                raise DependencyError("docker", f"a container's name is taken and it is not there after {THERE_S:g} s")
            await asyncio.sleep(POLL_S)

    async def _exists(self, path: str) -> bool:
        try:
            await self._engine.call("GET", f"{path}/json")
        except EngineError as error:
            if error.absent:
                return False
            raise _failed(error, "inspect a container") from None
        return True

    async def _read_through_reader(self, session_id: UUID, path: str) -> bytes:
        name = f"jelmore-{session_id}-reader-{secrets.token_hex(4)}"
        config = reader_config(session_id, self._image, self._instance)
        try:
            await self._engine.call("POST", "containers/create", params={"name": name}, body=config, within_s=START_S)
        except EngineError as error:
            raise self._refused(error, "read a volume") from None
        try:
            return await self._read_file(name, path)
        finally:
            await asyncio.shield(self._delete(name))

    async def _read_file(self, container: str, path: str) -> bytes:
        most = MOST_JOURNAL_BYTES + 64 * 1024  # tar's own blocks
        try:
            archive = await self._engine.read(
                f"containers/{container}/archive", params={"path": path}, most_bytes=most, within_s=ARCHIVE_S
            )
        except EngineError as error:
            if error.absent:
                return b""
            raise _failed(error, "read a file") from None
        return await asyncio.to_thread(_only_file, archive)

    async def _list(self, session_id: UUID | None, *, readers: bool = False) -> list[dict[str, Any]]:
        """Return containers of this installation, of one session or of all; readers only on demand."""
        wanted = [f"{INSTANCE}={self._instance}", SESSION if session_id is None else f"{SESSION}={session_id}"]
        params = {"all": True, "filters": {"label": wanted}}
        listed: list[dict[str, Any]] = await self._call("GET", "containers/json", params=params)
        return [each for each in listed if readers or READER not in each["Labels"]]

    async def _call(self, method: str, path: str, *, params: dict[str, Any]) -> Any:
        try:
            return await self._engine.call(method, path, params=params)
        except EngineError as error:
            raise _failed(error, f"list {path}") from None

    def _refused(self, error: EngineError, what: str) -> DependencyError | RefusedError:
        """Return the error in our words; a missing image is named with the way to get it."""
        if error.absent and "image" in error.message.lower():
            return RefusedError(
                "docker", f"there is no image {self._image}; `make run`, `make up` or scripts/runner-image build it"
            )
        return _failed(error, what)


def _failed(error: EngineError, what: str) -> DependencyError | RefusedError:
    """Return bad luck for what may succeed later, a refusal for what the engine will refuse again."""
    text = f"could not {what}: {error.message}"
    if error.unlucky:
        return DependencyError("docker", text)
    return RefusedError("docker", text)


def _generation(listed: dict[str, Any]) -> int:
    text = listed["Labels"].get(GENERATION, "")
    return int(text) if text.isdecimal() else 0


def _only_file(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member is not None else None
        return b"" if content is None else content.read()


def _log_text(raw: bytes) -> str:
    """Return what a container printed without the frames (8 bytes: stream, length) that the engine puts around it."""
    parts, at = [], 0
    while at + 8 <= len(raw):
        length = int.from_bytes(raw[at + 4 : at + 8], "big")
        parts.append(raw[at + 8 : at + 8 + length])
        at += 8 + length
    return b"".join(parts).decode("utf-8", "replace")
