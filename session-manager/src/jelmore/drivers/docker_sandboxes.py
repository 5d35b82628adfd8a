"""`Sandboxes` on a Docker engine: one container and one volume per session.

Every container is named after its session and generation and carries our labels, so the next manager recognises
whatever a crashed manager left behind. Every method may run twice, and two managers may run it at once.
"""

import asyncio
import secrets
import shutil
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from jelmore.drivers.docker_archive import log_text, only_file
from jelmore.drivers.docker_config import (
    FILES,
    GENERATION,
    INSTANCE,
    KEY,
    READER,
    SESSION,
    config_digest,
    container_config,
    container_name,
    folder_key,
    found_sandbox,
    reader_config,
    sandbox_of,
)
from jelmore.drivers.docker_engine import START_S, DockerEngine, EngineAddress, EngineError, engine_failure
from jelmore.drivers.docker_events import DockerEvents
from jelmore.drivers.docker_images import check_image
from jelmore.drivers.docker_options import EngineOptions, WantedOptions
from jelmore.drivers.docker_workspaces import DockerWorkspaces
from jelmore.drivers.paths import RunPaths, new_key
from jelmore.drivers.skill_folders import NO_SKILLS, SkillFolders
from jelmore.ports import FoundSandbox, Leftover, SandboxSpec
from jelmore.session.errors import DependencyError, RefusedError, WorkspaceLostError
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice
from jelmore.session.world import Sandbox, SandboxState

JOURNAL: Final = "/session/state/journal.jsonl"
MAX_LOG_BYTES: Final = 4 * 1024 * 1024
GONE_S: Final = 15.0
THERE_S: Final = 5.0
POLL_S: Final = 0.03
READER_LEFT_S: Final = 600.0
"""A reader container older than this is left over: reading takes seconds."""

FILES_LEFT_S: Final = 7200.0
"""A container for calls on files that is older than this is left over: calls take an hour at most."""


class DockerSandboxes:
    """The containers of one installation, selected by the label `instance`."""

    def __init__(
        self,
        address: EngineAddress,
        *,
        image: str,
        instance: str,
        paths: RunPaths,
        wanted: WantedOptions = WantedOptions(),  # noqa: B008 - it is frozen
        skills: SkillFolders = NO_SKILLS,
    ) -> None:
        self._engine = DockerEngine(address)
        self._skills = skills
        self._options = EngineOptions(self._engine, wanted, local=address.host.startswith("unix:"))
        self._image = image
        self._instance = instance
        self._paths = paths
        self._events = DockerEvents(self._engine, instance)
        self._workspaces = DockerWorkspaces(self._engine, instance)
        self._local = address.host.startswith("unix:")
        self._disk: Path | None = None
        self._disk_sought = False

    async def check(self) -> None:
        """Return when the engine answers and has the image. Raises DependencyError, RefusedError."""
        await self.recipe()

    async def recipe(self, choice: SandboxChoice = AS_ALL) -> str:
        """Return a digest of the image's id and of the container's configuration. Raises what `check` raises."""
        try:
            image = await self._engine.call("GET", f"images/{choice.image or self._image}/json")
        except EngineError as error:
            raise self._refused(error, "look at the image", choice) from None
        options = replace(await self._options.look(choice.runtime), skills=self._skills.of(choice))
        check_image(image, choice.image or self._image, options)
        return config_digest(image["Id"], options)

    async def observe(self, session_id: UUID, generation: int | None = None) -> Sandbox | None:
        """Return the newest container of a session, None when there is none; see the port for `generation`."""
        inspected = None if generation is None else await self._expected(session_id, generation)
        if inspected is None:
            listed = await self._list(session_id)
            inspected = await self._inspect(max(listed, key=_generation)["Id"]) if listed else None
        if inspected is None:
            return None
        sandbox = sandbox_of(inspected, self._paths)
        return replace(sandbox, oom=sandbox.oom or self._events.ran_out_of_memory(sandbox.id))

    async def found(self) -> Sequence[FoundSandbox]:
        """Return every container of this installation whose labels can be read."""
        found = (found_sandbox(each, self._paths) for each in await self._list(None))
        return [each for each in found if each is not None]

    async def start(self, spec: SandboxSpec) -> None:
        """Create the volume, the socket folder and the container of this generation, and start it once.

        A container that has already run is not started again: the reconciler must see and record its end. Older
        generations are removed first. Does nothing when a newer generation exists. May run twice. Raises RefusedError
        for a missing image or a volume of another installation, WorkspaceLostError, and DependencyError.
        """
        name = container_name(spec.session_id, spec.generation)
        listed = await self._list(spec.session_id)
        if any(_generation(each) > spec.generation for each in listed):
            return
        older = [each["Id"] for each in listed if _generation(each) < spec.generation]
        if older:
            await asyncio.gather(*(self.remove(each) for each in older))
        try:
            if len(older) == len(listed):
                await self._create(spec, name)
            elif all(each["State"] != "created" for each in listed if each["Id"] not in older):
                return
            await self._start_created(spec, name)
        except EngineError as error:
            raise self._refused(error, "start a container", spec.choice) from None

    async def pause(self, sandbox_id: str) -> None:
        """Pause this container. Does nothing unless it runs."""
        await self._turn(sandbox_id, "pause", SandboxState.RUNNING)

    async def unpause(self, sandbox_id: str) -> None:
        """Unpause this container. Does nothing unless it is paused."""
        await self._turn(sandbox_id, "unpause", SandboxState.PAUSED)

    async def remove(self, sandbox_id: str) -> None:
        """Kill and remove this container, then its sockets. The volume stays. Absent is success.

        Raises RefusedError for a container of another installation.
        """
        inspected = await self._inspect(sandbox_id)
        if inspected is None:
            return
        marks = inspected["Config"]["Labels"]
        if marks.get(INSTANCE) != self._instance:
            raise RefusedError("docker", f"the container {sandbox_id} is not of this installation")
        await self._delete(sandbox_id)
        if READER not in marks or KEY in marks:
            await asyncio.to_thread(self._paths.clear_folder, folder_key(marks))

    async def has_workspace(self, session_id: UUID) -> bool:
        """Return whether the session's volume exists and belongs to this installation."""
        return await self._workspaces.exists(session_id)

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's volume. Raises ConflictError while a container uses it."""
        await self._workspaces.erase(session_id)

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions whose volume exists and belongs to this installation."""
        return await self._workspaces.kept()

    async def leftovers(self) -> Sequence[Leftover]:
        """Return old readers, socket folders without a container, and what has our label but names no session."""
        # Listed before the containers: otherwise the folder of a container created in between would look unused.
        folders = await asyncio.to_thread(self._paths.folders)
        listed, left = await self._list(None, readers=True), await self._workspaces.leftovers()
        for each in listed:
            if READER in each["Labels"]:
                left_s = FILES_LEFT_S if each["Labels"][READER] == FILES else READER_LEFT_S
                if time.time() - each["Created"] > left_s or (left_s == FILES_LEFT_S and each["State"] == "exited"):
                    left.append(Leftover("reader", each["Id"], "its reader is gone"))
            elif found_sandbox(each, self._paths) is None:
                left.append(Leftover("container", each["Id"], "its labels name no session", removable=False))
        used = {each["Labels"].get(KEY) or each["Labels"].get(SESSION) for each in listed}
        return [*left, *(Leftover("sockets", key, "no container uses it") for key in folders if key not in used)]

    async def clear(self, leftover: Leftover) -> None:
        """Remove a reader, a socket folder or a replacement volume that the engine created."""
        if leftover.kind == "replacement":
            await self._workspaces.clear(leftover.name)
        elif leftover.kind == "reader":
            await self.remove(leftover.name)
        elif leftover.kind == "sockets":
            await asyncio.to_thread(self._paths.clear_folder, leftover.name)

    async def log_tail(self, sandbox_id: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that this container printed."""
        path, params = f"containers/{sandbox_id}/logs", {"stdout": True, "stderr": True, "tail": lines}
        try:
            raw = await self._engine.read(path, params=params, most_bytes=MAX_LOG_BYTES, within_s=30)
        except EngineError as error:
            if error.absent or error.clashes:  # removed, or being removed
                return ()
            raise engine_failure(error, "read a log") from None
        return tuple(log_text(raw).splitlines()[-lines:])

    async def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        """Yield the journal in pieces, read through the session's container or a reader that is never started."""
        listed = await self._list(session_id)
        if listed:
            container = max(listed, key=_generation)["Id"]
            async with aclosing(self._read_file(container, JOURNAL)) as pieces:
                async for piece in pieces:
                    yield piece
        elif await self._workspaces.exists(session_id):  # creating a container would create the volume
            async with self._reader(session_id) as container, aclosing(self._read_file(container, JOURNAL)) as pieces:
                async for piece in pieces:
                    yield piece

    async def free_bytes(self) -> int | None:
        """Return the free bytes on the disk of the engine's volumes, None when this process cannot see that disk."""
        if not self._disk_sought:
            self._disk, self._disk_sought = await self._find_disk(), True
        try:
            return shutil.disk_usage(self._disk).free if self._disk is not None else None
        except OSError:
            return None

    async def _find_disk(self) -> Path | None:
        """Return a folder on the file system of the engine's data, None when there is none on this machine.

        On the engine's host it is the engine's root directory. In a container of that engine it is `/`, which the
        engine keeps on the same file system. The host name, which the engine sets to the container's id, shows this.
        """
        root = Path((await self._call("GET", "info", params={}))["DockerRootDir"])
        if self._local and root.is_dir():
            return root
        return Path("/") if await self._inspect(socket.gethostname()) else None

    def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container may have changed, starting where the last stream ended."""
        return self._events.changes()

    async def close(self) -> None:
        """Close the connections to the engine."""
        await self._engine.close()

    async def _create(self, spec: SandboxSpec, name: str) -> None:
        # Checked first, so that a missing image, runtime or folder leaves no volume and no folder behind.
        image, skills = spec.choice.image or self._image, self._skills.of(spec.choice)
        inspected = await self._engine.call("GET", f"images/{image}/json")
        options = replace(await self._options.known(spec.choice.runtime), skills=skills)
        check_image(inspected, image, options)
        await self._workspaces.claim(spec)
        self._paths.prepare()
        key = new_key()
        self._paths.make_folder(key)
        folder = self._paths.folder(key)
        gateway = self._paths.make_gateway_folder(spec.session_id, spec.generation)
        config = container_config(spec, image, self._instance, folder, gateway=gateway, options=options)
        try:
            await self._engine.call("POST", "containers/create", params={"name": name}, body=config, within_s=START_S)
        except EngineError as error:
            self._paths.clear_folder(key)
            if not error.clashes:
                raise
            await self._until_there(name)  # another manager reserved the name first; the container follows

    async def _start_created(self, spec: SandboxSpec, name: str) -> None:
        """Start a container that was never started. Raises WorkspaceLostError when its volume was replaced."""
        inspected = await self._engine.call("GET", f"containers/{name}/json")
        if inspected["State"]["Status"] != "created":
            return
        marks = inspected["Config"]["Labels"]
        if not await self._workspaces.exists(spec.session_id):
            await self.remove(inspected["Id"])
            raise WorkspaceLostError(spec.session_id)
        self._paths.make_folder(folder_key(marks))
        await self._engine.call("POST", f"containers/{inspected['Id']}/start", within_s=START_S)

    async def _turn(self, sandbox_id: str, verb: str, when: SandboxState) -> None:
        """Pause or unpause a container whose state is `when`. Does nothing in another state."""
        if await self._state(sandbox_id) is not when:
            return
        try:
            await self._engine.call("POST", f"containers/{sandbox_id}/{verb}")
        except EngineError as error:
            if await self._state(sandbox_id) is when:
                raise engine_failure(error, f"{verb} a container") from None

    async def _state(self, sandbox_id: str) -> SandboxState | None:
        inspected = await self._inspect(sandbox_id)
        return None if inspected is None else sandbox_of(inspected, self._paths).state

    async def _expected(self, session_id: UUID, generation: int) -> dict[str, Any] | None:
        """Return the container with the name of this generation, if it is this installation's: one call, not two."""
        inspected = await self._inspect(container_name(session_id, generation))
        ours = {INSTANCE: self._instance, SESSION: str(session_id), GENERATION: str(generation)}.items()
        return inspected if inspected is not None and ours <= inspected["Config"]["Labels"].items() else None

    async def _inspect(self, container: str) -> dict[str, Any] | None:
        try:
            inspected: dict[str, Any] = await self._engine.call("GET", f"containers/{container}/json")
        except EngineError as error:
            if error.absent:
                return None
            raise engine_failure(error, "inspect a container") from None
        return inspected

    async def _delete(self, container_id: str) -> None:
        """Kill and remove one container; return when it is gone. Absent is success."""
        path = f"containers/{container_id}"
        try:
            await self._engine.call("DELETE", path, params={"force": True}, within_s=START_S)
        except EngineError as error:
            if error.absent:
                return
            if not error.clashes:  # 409: its removal is already in progress
                raise engine_failure(error, "remove a container") from None
        else:
            return
        await self._until_gone(container_id)

    async def _until_gone(self, container_id: str) -> None:
        until = time.monotonic() + GONE_S
        while await self._inspect(container_id) is not None:
            if time.monotonic() > until:
                raise DependencyError("docker", f"a container is still being removed after {GONE_S:g} s")
            await asyncio.sleep(POLL_S)

    async def _until_there(self, name: str) -> None:
        until = time.monotonic() + THERE_S
        while await self._inspect(name) is None:
            if time.monotonic() > until:
                raise DependencyError("docker", f"a container's name is taken and it is not there after {THERE_S:g} s")
            await asyncio.sleep(POLL_S)

    @asynccontextmanager
    async def _reader(self, session_id: UUID) -> AsyncIterator[str]:
        """Create a container that mounts the session's volume and is never started; remove it at the end."""
        name = f"jelmore-{session_id}-reader-{secrets.token_hex(4)}"
        config = reader_config(session_id, self._image, self._instance)
        try:
            await self._engine.call("POST", "containers/create", params={"name": name}, body=config, within_s=START_S)
        except EngineError as error:
            raise self._refused(error, "read a volume") from None
        try:
            yield name
        finally:
            await asyncio.shield(self._delete(name))

    async def _read_file(self, container: str, path: str) -> AsyncGenerator[bytes]:
        archive = self._engine.pieces(f"containers/{container}/archive", params={"path": path})
        try:
            async with aclosing(archive), aclosing(only_file(archive)) as content:
                async for piece in content:
                    yield piece
        except EngineError as error:
            if not error.absent:
                raise engine_failure(error, "read a file") from None

    async def _list(self, session_id: UUID | None, *, readers: bool = False) -> list[dict[str, Any]]:
        """Return this installation's containers, of one session or of all; with readers only if `readers` is set."""
        wanted = [f"{INSTANCE}={self._instance}", *([] if session_id is None else [f"{SESSION}={session_id}"])]
        params = {"all": True, "filters": {"label": wanted}}
        listed: list[dict[str, Any]] = await self._call("GET", "containers/json", params=params)
        listed = [each for each in listed if readers or READER not in each["Labels"]]
        if session_id is None:
            return listed
        return [each for each in listed if found_sandbox(each, self._paths) is not None]  # the rest is only reported

    async def _call(self, method: str, path: str, *, params: dict[str, Any]) -> Any:
        try:
            return await self._engine.call(method, path, params=params)
        except EngineError as error:
            raise engine_failure(error, f"list {path}") from None

    def _refused(self, error: EngineError, what: str, choice: SandboxChoice = AS_ALL) -> DependencyError | RefusedError:
        """Convert the engine's error to ours. For a missing image, the message says where it comes from."""
        if error.absent and "image" in error.message.lower():
            if choice.image:
                return RefusedError("docker", f"there is no image {choice.image}, which the session's profile names")
            return RefusedError(
                "docker", f"there is no image {self._image}; `make run`, `make up` or scripts/runner-image build it"
            )
        if "seccomp profile" in error.message:
            return RefusedError("docker", f"JELMORE_SECCOMP: set it to engine; this one said: {error.message[:300]}")
        if "setting rlimit" in error.message:
            return RefusedError("docker", f"JELMORE_OPEN_FILES: the engine cannot give as many: {error.message}")
        if "bind source path does not exist" in error.message:  # the gateway makes it when the sandbox is registered
            return DependencyError("docker", f"could not {what}: {error.message}")
        return engine_failure(error, what)


def _generation(listed: dict[str, Any]) -> int:
    text = listed["Labels"].get(GENERATION, "")
    return int(text) if text.isdecimal() else 0
