"""The sessions of a server, and one of them, asynchronously. `_sync_sessions.py` is generated from this file."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal, Self

from jelmore_client._async_files import AsyncFiles
from jelmore_client._async_mcp import AsyncMcpServers
from jelmore_client._async_observation import AsyncSessionObservation
from jelmore_client._async_people import AsyncPeople
from jelmore_client._async_ports import AsyncSessionPorts
from jelmore_client._async_repository import AsyncSessionRepository
from jelmore_client._async_turns import AsyncSessionTurns
from jelmore_client.core import requests
from jelmore_client.core.packing import StartingFiles, pack
from jelmore_client.core.requests import API, Request, given, session_path
from jelmore_client.models import Erasure, Repository, SessionInfo, SessionToken

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore
    from jelmore_client._async_terminal import AsyncTerminal


class AsyncSessions:
    """The sessions of a server."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def create(
        self,
        query: str | None = None,
        *,
        repository: Repository | Mapping[str, Any] | None = None,
        files: StartingFiles | None = None,
        wait: bool = True,
        idempotency_key: str | None = None,
        **options: Any,
    ) -> "AsyncSession":
        """Create a session; `options` are the fields of the API's create request. Raises JelmoreError.

        It is created once, also when the connection breaks and the client repeats the request. A `repository` is in
        its workspace when it begins; InvalidRequestError (`repository_failed`) says why one cannot be fetched. With
        `base`, the id of a session, it begins with a copy of that session's workspace. On top go `files`: local
        files and folders, or a mapping from paths in the workspace to content or local paths. Raises OSError for one
        that cannot be read, InvalidRequestError for one that may not be in a workspace.
        """
        if repository is not None:
            options["repository"] = requests.repository_body(repository)
        body = {"query": query, **options} if query is not None else options
        request = requests.create_session(body, wait=wait, idempotency_key=idempotency_key)
        if files is None:
            found = await self._client.request(request)
        else:
            with tempfile.TemporaryFile() as archive:
                await asyncio.to_thread(pack, files, archive)
                found = await self._client.request(requests.with_archive(request, archive))
        return AsyncSession(self._client, SessionInfo.read(found))

    async def get(self, session_id: str) -> "AsyncSession":
        """Return a session by id. Raises NotFoundError."""
        found = await self._client.request(Request("GET", session_path(session_id)))
        return AsyncSession(self._client, SessionInfo.read(found))

    async def list(self, **filters: Any) -> AsyncIterator[SessionInfo]:
        """Yield sessions, newest first. `filters` are the list's query parameters, such as `status`."""
        request = Request("GET", f"{API}/sessions", params=given(**filters))
        async with aclosing(self._client.fetch_pages(request, SessionInfo)) as found:
            async for info in found:
                yield info

    async def stats(self) -> dict[str, Any]:
        """Return the number of sessions per status, and of used and total slots."""
        found: dict[str, Any] = await self._client.request(Request("GET", f"{API}/sessions/stats"))
        return found


class AsyncSession(AsyncSessionTurns, AsyncSessionPorts, AsyncSessionRepository, AsyncSessionObservation):
    """A session. As a context manager it is ended on exit."""

    def __init__(self, client: "AsyncJelmore", info: SessionInfo) -> None:
        self._client = client
        self.info = info
        self.files = AsyncFiles(client, info.id)
        self.people = AsyncPeople(client, info.id)
        self.mcp = AsyncMcpServers(client, info.id)

    @property
    def id(self) -> str:
        """The session's id."""
        return self.info.id

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.info.status}>"

    def _repr_markdown_(self) -> str:
        return self.info._repr_markdown_()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def refresh(self) -> SessionInfo:
        """Load the session again and return it."""
        self.info = SessionInfo.read(await self._client.request(Request("GET", self._path())))
        return self.info

    async def change(self, **changes: Any) -> SessionInfo:
        """Change title, metadata, model, permission mode, timeouts or limits; return the session."""
        found = await self._client.request(Request("PATCH", self._path(), json=changes))
        self.info = SessionInfo.read(found)
        return self.info

    async def resume(self, *, workspace: Literal["kept", "new"] = "kept") -> SessionInfo:
        """Start an ended session again, with its conversation and workspace.

        Raises ConflictError when it has not ended, and when its workspace is gone; a `new` one is empty.
        """
        params = {"workspace": workspace} if workspace != "kept" else {}
        request = Request("POST", self._path("resume"), params=params, repeatable=False, timeout_s=120.0)
        self.info = await self._client.fetch(request, SessionInfo)
        return self.info

    async def restart(self) -> SessionInfo:
        """Replace the container of a live session, which keeps conversation and workspace; a running turn is lost.

        Not repeated: each call replaces it again. Raises ConflictError when the session has ended.
        """
        request = Request("POST", self._path("restart"), repeatable=False, timeout_s=120.0)
        self.info = await self._client.fetch(request, SessionInfo)
        return self.info

    async def renew_token(
        self, *, scopes: Sequence[Literal["read", "write"]] | None = None, rotate: bool = False
    ) -> SessionToken:
        """Return a new token for the session's own URL; with `rotate`, it replaces all earlier ones.

        `scopes` are read and write by default. May be called twice.
        """
        body = given(scopes=None if scopes is None else [*scopes], rotate=rotate)
        return await self._client.fetch(Request("POST", self._path("token"), json=body), SessionToken)

    async def fork(
        self,
        query: str | None = None,
        *,
        at_seq: int | None = None,
        title: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        wait: bool = True,
        idempotency_key: str | None = None,
    ) -> "AsyncSession":
        """Return a new session with a copy of this one's workspace, and with its conversation; `query` is a prompt.

        With `at_seq`, it has only the turns that had ended at this output, and the files of then if `workspace` in its
        `forked_from` is `snapshot`, else those of now. It is created once, as with `create`. Raises ConflictError when
        the workspace or the transcript is gone.
        """
        body = {"query": query, "at_seq": at_seq, "title": title, "metadata": metadata}
        request = requests.fork_session(self.id, body, wait=wait, idempotency_key=idempotency_key)
        return AsyncSession(self._client, SessionInfo.read(await self._client.request(request)))

    async def end(self, reason: str = "deleted") -> SessionInfo:
        """End the session. May be called twice; record, output and workspace stay."""
        request = Request("DELETE", self._path(), params={"reason": reason}, timeout_s=120.0)
        self.info = SessionInfo.read(await self._client.request(request))
        return self.info

    def terminal(self, terminal: str | None = None, *, command: str | None = None, **opening: Any) -> "AsyncTerminal":
        """Return a terminal in the session's sandbox, to be used as a context manager; it resumes the session.

        `terminal` is a name (`main` by default), `command` runs instead of a shell; `opening` are the other fields of
        docs/terminal.md, such as `pty`, `columns`, `rows` and `watch`. Needs the package `websockets`.
        """
        return self._client.open_terminal(self._path("terminal"), terminal=terminal, command=command, **opening)

    async def erase(self, *, end: bool = False) -> Erasure:
        """Erase the session for good, in every store; return what was found and what remains. May be called twice.

        With `end`, end it first. Raises ConflictError for one that has not ended.
        """
        params = {"end": "true"} if end else {}
        request = Request("POST", self._path("erase"), params=params, timeout_s=180.0)
        return await self._client.fetch(request, Erasure)

    def _path(self, *parts: str) -> str:
        return session_path(self.info.id, *parts)
