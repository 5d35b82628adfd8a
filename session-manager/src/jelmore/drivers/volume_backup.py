"""Saves the workspaces of sessions into files, and restores them: Docker volumes, or folders of local sessions."""

import asyncio
import io
import logging
import os
import secrets
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol, cast
from uuid import UUID

from jelmore.drivers.docker_config import labels, reader_config, volume_name
from jelmore.drivers.docker_engine import DockerEngine, EngineError, engine_failure
from jelmore.drivers.docker_workspaces import DockerWorkspaces
from jelmore.session.errors import DependencyError, RefusedError

_MOUNT: Final = "/session"
_RESTORE_S: Final = 3600.0
_READINGS: Final = 3

log = logging.getLogger(__name__)


class TooLargeError(Exception):
    """A workspace is larger than there is room for."""


class TornError(Exception):
    """The engine sent only the beginning of a workspace, however often it was asked.

    It ends its tar, without a word, at a file that becomes shorter while it is read. Such a tar cannot be restored.
    """


class _BoundedFile(io.FileIO):
    """A new file of at most so many bytes. An agent may have a sparse file of terabytes, which costs it nothing."""

    def __init__(self, path: Path, most_bytes: int) -> None:
        super().__init__(path, "wb")
        self._left = most_bytes

    def write(self, data: Any) -> int:
        """Write all of it. Raises TooLargeError."""
        self._left -= len(data)
        if self._left < 0:
            raise TooLargeError
        at = 0
        while at < len(data):
            at += super().write(data[at:])
        return at


class Volumes(Protocol):
    """The workspaces of an installation."""

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions that have a workspace."""

    async def save(self, session_id: UUID, target: Path, most_bytes: int) -> bool:
        """Write a workspace into a tar file; return whether it was still there: its session may be erased meanwhile.

        Raises TooLargeError above `most_bytes`, and TornError; leaves a part then.
        """

    async def taken(self) -> Collection[UUID]:
        """Return the sessions whose workspace would have to be replaced, of other installations too."""

    async def restore(self, session_id: UUID, source: Path) -> None:
        """Make a workspace from a tar file. Raises RefusedError when the session has one."""

    async def remove(self, session_id: UUID) -> None:
        """Remove a workspace that `restore` made. Absent is success."""

    async def close(self) -> None:
        """Release connections."""


class DockerVolumes:
    """Volumes of a Docker engine, read and written through containers that are never started."""

    def __init__(self, engine: DockerEngine, *, image: str, instance: str) -> None:
        self._engine = engine
        self._image = image
        self._instance = instance
        self._workspaces = DockerWorkspaces(engine, instance)

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions that have a volume."""
        return await self._workspaces.kept()

    async def save(self, session_id: UUID, target: Path, most_bytes: int) -> bool:
        """Write a volume into a tar file, with owners and modes; return whether it was there.

        Raises TooLargeError and TornError.
        """
        if not await self._workspaces.exists(session_id):
            return False
        async with self._mounted(session_id) as container:
            if not await self._workspaces.exists(
                session_id
            ):  # the engine has made an empty one, which the sweep removes
                return False
            for _ in range(_READINGS):
                await self._read(container, target, most_bytes)
                if await asyncio.to_thread(_is_whole, target):
                    return True
        raise TornError

    async def _read(self, container: str, target: Path, most_bytes: int) -> None:
        pieces = self._engine.pieces(f"containers/{container}/archive", params={"path": _MOUNT})
        try:
            async with aclosing(pieces):
                with _BoundedFile(target, most_bytes) as file:
                    async for piece in pieces:
                        await asyncio.to_thread(file.write, piece)
        except EngineError as error:
            raise engine_failure(error, "save a volume") from None

    async def taken(self) -> Collection[UUID]:
        """Return the sessions that have a volume, whatever installation made it: the engine has one set of names."""
        try:
            found = await self._engine.call("GET", "volumes", params={"filters": {"name": ["^jelmore-"]}})
        except EngineError as error:
            raise engine_failure(error, "list volumes") from None
        names = [volume["Name"].removeprefix("jelmore-") for volume in found.get("Volumes") or ()]
        return frozenset(UUID(name) for name in names if _is_id(name))

    async def restore(self, session_id: UUID, source: Path) -> None:
        """Create a volume with this installation's labels and fill it."""
        if session_id in await self.taken():
            raise RefusedError("docker", f"the volume {volume_name(session_id)} exists already")
        try:
            body = {"Name": volume_name(session_id), "Labels": labels(session_id, self._instance)}
            await self._engine.call("POST", "volumes/create", body=body)
            try:
                async with self._mounted(session_id, writable=True) as container:
                    target = f"containers/{container}/archive"
                    await self._engine.send(target, source, params={"path": "/"}, within_s=_RESTORE_S)
            except BaseException:  # half a workspace must not look like one
                await asyncio.shield(self.remove(session_id))
                raise
        except EngineError as error:
            raise engine_failure(error, "restore a volume") from None

    async def remove(self, session_id: UUID) -> None:
        """Remove the volume."""
        await self._workspaces.erase(session_id)

    async def close(self) -> None:
        """Release the connection."""
        await self._engine.close()

    @asynccontextmanager
    async def _mounted(self, session_id: UUID, *, writable: bool = False) -> AsyncIterator[str]:
        """Create a container that mounts the volume; remove it at the end."""
        # A name of its own: one that a killed backup left must not stand in the way of the next. The sweep removes it.
        name = f"jelmore-{session_id}-backup-{secrets.token_hex(4)}"
        config = reader_config(session_id, self._image, self._instance)
        # The tar has the folder of the mount itself, whose parent is the root: the engine refuses a read-only one.
        config["HostConfig"]["ReadonlyRootfs"] = not writable
        for mount in config["HostConfig"]["Mounts"]:
            mount["ReadOnly"] = not writable
        try:
            await self._engine.call("POST", "containers/create", params={"name": name}, body=config)
        except EngineError as error:
            raise engine_failure(error, "mount a volume") from None
        try:
            yield name
        finally:
            with suppress(EngineError, DependencyError):  # the sweep removes it
                await asyncio.shield(self._engine.call("DELETE", f"containers/{name}", params={"force": True}))


class LocalVolumes:
    """Folders of local sessions below `data_dir/local`."""

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "local"

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions that have a folder."""
        names = [entry.name for entry in self._root.iterdir()] if self._root.is_dir() else []
        return sorted(UUID(name) for name in names if _is_id(name))

    async def save(self, session_id: UUID, target: Path, most_bytes: int) -> bool:
        """Write the folder into a tar file. Raises TooLargeError.

        Sockets are left out: tar cannot hold them. So is what this user may not read, with a line in the log.
        """
        folder = self._root / str(session_id)

        def write() -> bool:
            unreadable: list[OSError] = []
            with (
                _BoundedFile(target, most_bytes) as file,
                tarfile.open(fileobj=file, mode="w") as archive,
            ):
                for path in (folder, *_below(folder, unreadable.append)):
                    try:
                        _add(archive, path, str(Path("session") / path.relative_to(folder)))
                    except FileNotFoundError:
                        continue  # the agent removes files meanwhile
                    except PermissionError as error:
                        unreadable.append(error)
                found = bool(archive.getmembers())
            refused = [error for error in unreadable if isinstance(error, PermissionError)]
            if refused:
                log.warning("workspace %s: %d files or folders left out: %s", session_id, len(refused), refused[0])
            return found

        return await asyncio.to_thread(write)

    async def taken(self) -> Collection[UUID]:
        """Return the sessions that have a folder."""
        return await self.kept()

    async def restore(self, session_id: UUID, source: Path) -> None:
        """Make the folder from a tar file."""
        folder = self._root / str(session_id)
        if folder.exists():
            raise RefusedError("local", f"{folder} exists already")

        def read() -> None:
            partial = self._root / f".restoring-{session_id}"
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            with tarfile.open(source) as archive:
                archive.extractall(partial, filter="tar")
            (partial / "session").rename(folder)
            partial.rmdir()

        await asyncio.to_thread(read)

    async def remove(self, session_id: UUID) -> None:
        """Remove the folder."""
        await asyncio.to_thread(shutil.rmtree, self._root / str(session_id), ignore_errors=True)

    async def close(self) -> None:
        """Nothing to release."""


def _below(folder: Path, onerror: Callable[[OSError], object] | None = None) -> Iterator[Path]:
    """Yield everything below a folder, folders before what is in them. Follows no links."""
    for here, folders, files in os.walk(folder, onerror=onerror):
        yield from (Path(here) / name for name in (*sorted(folders), *sorted(files)))


class _Filled:
    """A file that ends with zeros where it has become shorter: its size is in the tar before its content."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        return self._file.read(size).ljust(size, b"\0")


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    """Add one entry, without what is below it. Raises OSError before it has written anything."""
    entry = cast("tarfile.TarInfo | None", archive.gettarinfo(path, name))
    if entry is None:
        return  # a socket
    if not entry.isreg():
        archive.addfile(entry)
        return
    with path.open("rb") as file:
        archive.addfile(entry, cast("BinaryIO", _Filled(file)))


def _is_whole(path: Path) -> bool:
    """Return whether a tar file has all of the content of its last entry."""
    try:
        with tarfile.open(path, "r:") as archive:
            while archive.next() is not None:
                cast("Any", archive).members.clear()  # of a million files, too
    except tarfile.TarError:
        return False
    return True


def _is_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False
