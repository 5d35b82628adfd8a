"""What people do with the files of a session's workspace. Each call checks what its caller may see and do."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.control.workspaces import Workspaces
from jelmore.ports import WorkspaceAnswer
from jelmore.session.errors import TooLargeError, WorkspaceSpaceError
from jelmore.session.record import Session

NO_LIMIT_BYTES: Final = 2**50


class Files:
    """Reads and changes of files. None of them counts as activity of the session."""

    def __init__(
        self, queries: SessionQueries, workspaces: Workspaces, disk: DiskCapacity, *, most_upload_bytes: int
    ) -> None:
        self._queries = queries
        self._workspaces = workspaces
        self._disk = disk
        self._most_upload_bytes = most_upload_bytes

    @asynccontextmanager
    async def read(self, caller: Caller, session_id: UUID, asked: Mapping[str, Any]) -> AsyncGenerator[WorkspaceAnswer]:
        """Yield the answer to a call that changes nothing."""
        session = await self._queries.get(caller, session_id)
        async with self._workspaces.call(session, asked) as answer:
            yield answer

    async def change(
        self, caller: Caller, session_id: UUID, asked: Mapping[str, Any], body: AsyncIterator[bytes] | None = None
    ) -> Mapping[str, Any]:
        """Carry out a call that changes files; return the first line of its answer.

        A body is bounded by the free space of the workspace (WorkspaceSpaceError above it) and by the limit of uploads
        (TooLargeError above it).
        """
        caller.check_may_write()
        session = await self._queries.get(caller, session_id)
        if body is not None:
            await self._disk.check()
            left = left_bytes(session)
            if int(asked.get("length") or 0) > self._most_upload_bytes:
                raise self._too_large()
            if int(asked.get("length") or 0) > left:
                raise WorkspaceSpaceError(f"the workspace has space for {left} more bytes")
            asked = {**asked, "most_bytes": left}
            body = self._bounded(body)
        async with self._workspaces.call(session, asked, body) as answer:
            return answer.head

    async def _bounded(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        size = 0
        async for piece in body:
            size += len(piece)
            if size > self._most_upload_bytes:
                raise self._too_large()
            yield piece

    def _too_large(self) -> TooLargeError:
        return TooLargeError(f"an upload has at most {self._most_upload_bytes} bytes (JELMORE_UPLOAD_BYTES)")


def left_bytes(session: Session) -> int:
    """Return what is left of the workspace's limit, by the last measurement; a large number without a limit."""
    limit = session.spec.limits.workspace_bytes
    used = session.resources.reading.workspace_bytes or 0
    return max(0, limit - used) if limit else NO_LIMIT_BYTES
