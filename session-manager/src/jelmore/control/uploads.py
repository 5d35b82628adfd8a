"""Brings the files that come with a create into its workspace, before anything of the session is stored or runs.

Files are packed as an archive while they arrive, and archives are unpacked by the helper that unpacks those of
`…/files`: one place decides which names, links and sizes are refused.
"""

import zipfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol, cast

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.files import NO_LIMIT_BYTES
from jelmore.control.repositories import Repositories
from jelmore.control.requests import Caller, Created, CreateRequest
from jelmore.control.sessions import Prepare, SessionCommands
from jelmore.control.workspaces import Workspaces
from jelmore.ports import Idempotency, SessionStore
from jelmore.session.errors import (
    ConflictError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    TooLargeError,
    WorkspaceSpaceError,
)
from jelmore.session.record import Session

_UNIX: Final = 3
_FILE_MODE: Final = 0o100664


class UploadError(InvalidRequestError):
    """An upload cannot be used; the message names the part."""


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A part of an upload. `form` is that of an archive (tar, tar.gz, zip); a file has a `path` instead.

    `content` is read once, and to its end, before the next part.
    """

    content: AsyncIterator[bytes]
    path: str = ""
    form: str = ""


class Upload(Protocol):
    """The files that come with a create, as they arrive."""

    def parts(self) -> AsyncGenerator[UploadPart]:
        """Yield the parts in the order in which they were sent, once. Raises UploadError for a broken one."""

    def covered(self, idempotency: Idempotency) -> Idempotency:
        """Return the key with a digest that also covers everything that has arrived."""


class Uploads:
    """Prepares workspaces from uploads."""

    def __init__(
        self,
        store: SessionStore,
        workspaces: Workspaces,
        repositories: Repositories,
        commands: SessionCommands,
        disk: DiskCapacity,
        *,
        most_bytes: int,
    ) -> None:
        self._store = store
        self._workspaces = workspaces
        self._repositories = repositories
        self._commands = commands
        self._disk = disk
        self._most_bytes = most_bytes

    async def create(
        self,
        caller: Caller,
        request: CreateRequest,
        upload: Upload,
        before: Prepare,
        *,
        idempotency: Idempotency | None,
        wait: bool,
    ) -> Created:
        """Create a session that begins with an upload, on top of what `before` puts into its workspace.

        Raises what `SessionCommands.create` does, UploadError naming the part that is refused, TooLargeError
        above the limit of uploads or for an archive that unpacks to too much, and WorkspaceSpaceError. Then there is
        neither session nor workspace. The digest of the key covers the content, so a repetition is read to its end.
        """
        if idempotency is not None and await self._knows(caller, idempotency):
            await self._drain(upload)
            again = upload.covered(idempotency)
            return await self._commands.create(caller, request, idempotency=again, wait=wait, prepare=_forgotten)

        def complete() -> Idempotency:
            assert idempotency is not None  # noqa: S101 - it is asked for only with a key
            return upload.covered(idempotency)

        return await self._commands.create(
            caller,
            request,
            idempotency=None if idempotency is None else complete,
            wait=wait,
            prepare=lambda session: self._added(before(session), upload),
        )

    async def _knows(self, caller: Caller, idempotency: Idempotency) -> bool:
        """Return whether an earlier request had this key, whatever it asked for."""
        try:
            return await self._store.replayed(caller.key.id, idempotency) is not None
        except IdempotencyMismatchError:
            return True

    async def _drain(self, upload: Upload) -> None:
        async for part in self._bounded(upload):
            async for _ in part.content:
                pass

    @asynccontextmanager
    async def _added(self, before: AbstractAsyncContextManager[Session], upload: Upload) -> AsyncGenerator[Session]:
        """Yield the session of `before` with the upload in its workspace. An exception inside removes the workspace."""
        async with before as session, self._repositories.kept_if_created(session):
            await self._disk.check()
            await self._unpack(session, upload)
            yield session

    async def _unpack(self, session: Session, upload: Upload) -> None:
        left = session.spec.limits.workspace_bytes or NO_LIMIT_BYTES
        rest = _Rest(self._bounded(upload))
        while (part := await rest.next()) is not None:
            if part.form:
                name, form, body = "archive", part.form, part.content
            else:
                name, form, body = "files", "zip", _zipped(rest.files())
            asked = {"op": "extract", "path": "", "form": form, "most_bytes": left}
            try:
                async with self._workspaces.fresh(session.id, asked, body) as answer:
                    left -= int(answer.head["bytes"])
            except UploadError:
                raise
            except (InvalidRequestError, ConflictError, NotFoundError) as error:
                raise UploadError(f"{name}: {error}") from None
            except (WorkspaceSpaceError, TooLargeError) as error:
                raise type(error)(f"{name}: {error}") from None

    async def _bounded(self, upload: Upload) -> AsyncGenerator[UploadPart]:
        """Yield the parts, all of them together within the limit of uploads. Raises TooLargeError."""
        size = 0

        async def counted(content: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
            nonlocal size
            async for piece in content:
                size += len(piece)
                if size > self._most_bytes:
                    raise TooLargeError(f"an upload has at most {self._most_bytes} bytes (JELMORE_UPLOAD_BYTES)")
                yield piece

        async for part in upload.parts():
            yield UploadPart(counted(part.content), part.path, part.form)


def _forgotten(_: Session) -> AbstractAsyncContextManager[Session]:
    """Refuse to make the session of a key that was known a moment ago: its upload has been read."""
    raise ConflictError("the session of this Idempotency-Key is being erased; send the request again")


class _Rest:
    """The parts of an upload from the present one on."""

    def __init__(self, parts: AsyncGenerator[UploadPart]) -> None:
        self._parts = parts
        self._present: UploadPart | None = None

    async def next(self) -> UploadPart | None:
        """Return the present part, or the next one if the present one was taken; None at the end."""
        if self._present is None:
            self._present = await anext(self._parts, None)
        part = self._present
        if part is not None and part.form:
            self._present = None
        return part

    async def files(self) -> AsyncGenerator[UploadPart]:
        """Yield the present file and those that follow it, up to an archive or the end."""
        while (part := self._present) is not None and not part.form:
            yield part
            self._present = await anext(self._parts, None)


class _Sink:
    """A stream that cannot seek. `taken` returns what was written since the last call."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, content: bytes) -> int:
        self._pieces.append(bytes(content))
        return len(content)

    def flush(self) -> None:
        """Nothing is buffered."""

    def taken(self) -> bytes:
        content, self._pieces = b"".join(self._pieces), []
        return content


async def _zipped(files: AsyncGenerator[UploadPart]) -> AsyncGenerator[bytes]:
    """Yield an uncompressed zip of the files: of the archives, it alone needs no size before the content."""
    sink = _Sink()
    with zipfile.ZipFile(cast("Any", sink), "w", zipfile.ZIP_STORED) as packed:
        async for part in files:
            info = zipfile.ZipInfo(part.path)
            info.create_system, info.external_attr = _UNIX, _FILE_MODE << 16
            with packed.open(info, "w", force_zip64=True) as into:
                async for piece in part.content:
                    into.write(piece)
                    yield sink.taken()
    yield sink.taken()
