"""The asynchronous client. `_sync.py` is generated from this file: change this one, then run `make client`."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from jelmore_client._async_files import AsyncFiles
from jelmore_client._async_ports import AsyncSessionPorts
from jelmore_client._async_repository import AsyncSessionRepository
from jelmore_client.core import requests
from jelmore_client.core.packing import StartingFiles, pack
from jelmore_client.core.problems import check, parse, refusal
from jelmore_client.core.requests import API, Prompt, Request, retry_delay_s, session_path
from jelmore_client.core.streams import Cursor, SseDecoder
from jelmore_client.core.trust import trusted
from jelmore_client.errors import ConflictError, JelmoreError, NeedsAnswerError, connection_failed, ended_early
from jelmore_client.models import Accepted, Answer, Event, Message, Pending, Repository, SessionInfo, TurnResult

if TYPE_CHECKING:
    from jelmore_client._async_port import AsyncPortConnection
    from jelmore_client._async_terminal import AsyncTerminal

type AsyncAnswerer = Callable[[Pending], Awaitable[Answer | None]]
"""Answers a permission or a question; None leaves it to somebody else."""

STREAM_SILENCE_S = 60.0
"""A stream without a byte for so long is broken: the server sends a comment every 15 seconds."""

_HTTP_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL)


class AsyncJelmore:
    """A connection to a Jelmore server. May be used by several tasks; close it, or use it as a context manager.

    `url` defaults to JELMORE_URL or http://127.0.0.1:8080, `api_key` to JELMORE_API_KEY. `socket_path` connects to a
    unix socket instead of the URL's host. `on_retry` is called with the error and the seconds until a request is sent
    again, for those who wait and wonder why.
    """

    on_retry: Callable[[JelmoreError, float], None] | None = None

    def __init__(self, url: str | None = None, *, api_key: str | None = None, socket_path: str | None = None) -> None:
        self.url = (url or os.environ.get("JELMORE_URL") or "http://127.0.0.1:8080").rstrip("/")
        key, self._socket_path = api_key or os.environ.get("JELMORE_API_KEY") or "", socket_path
        try:
            self._http = httpx.AsyncClient(
                base_url=self.url,
                headers={"X-API-Key": key} if key else {},
                timeout=httpx.Timeout(60.0, connect=10.0),
                verify=trusted(self.url),
                transport=httpx.AsyncHTTPTransport(uds=socket_path) if socket_path else None,
            )
        except httpx.InvalidURL as error:
            raise connection_failed(self.url, error) from error
        self.sessions = AsyncSessions(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close all connections. May be called twice. Sessions continue."""
        await self._http.aclose()

    async def request(self, request: Request) -> Any:
        """Send a request and return the JSON of its answer; repeat it where that is safe. Raises JelmoreError."""
        return parse((await self.send(request)).content)

    async def send(self, request: Request) -> httpx.Response:
        """Send a request and return its answer, which is a success. Raises JelmoreError."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send_once(request)
            except JelmoreError as error:
                delay_s = retry_delay_s(request, attempt, error)
                if delay_s is None:
                    raise
                if self.on_retry is not None:
                    self.on_retry(error, delay_s)
            await asyncio.sleep(delay_s)

    async def _send_once(self, request: Request) -> httpx.Response:
        try:
            response = await self._http.request(
                request.method,
                request.path,
                params=dict(request.params) or None,  # an empty mapping would remove the query of the path
                json=request.json,
                content=request.content,
                files=request.files,
                headers=dict(request.headers),
                timeout=httpx.Timeout(request.timeout_s, connect=10.0),
            )
        except _HTTP_ERRORS as error:
            raise connection_failed(self.url, error) from error
        check(response.status_code, response.headers, response.content)
        return response

    async def health(self) -> Mapping[str, Any]:
        """Return the server's health report."""
        found: dict[str, Any] = await self.request(Request("GET", f"{API}/health"))
        return found

    def open_terminal(self, path: str, **opening: Any) -> "AsyncTerminal":
        """Return the terminal at this path; see `terminal` of a session."""
        from jelmore_client._async_terminal import AsyncTerminal

        key, url = self._http.headers.get("x-api-key"), "ws" + self.url.removeprefix("http") + path
        return AsyncTerminal(url, key, opening, self._socket_path)

    def open_port(self, path: str) -> "AsyncPortConnection":
        """Return the connection at this path; see `port` of a session."""
        from jelmore_client._async_port import AsyncPortConnection

        url = "ws" + self.url.removeprefix("http") + path
        return AsyncPortConnection(url, self._http.headers.get("x-api-key"), self._socket_path)

    async def pages(self, request: Request) -> AsyncGenerator[list[Any]]:
        """Yield the pages of a list, following `Link` headers."""
        following: Request | None = request
        while following is not None:
            response = await self.send(following)
            yield parse(response.content) or []
            link = response.links.get("next", {}).get("url")
            following = None if link is None else Request("GET", httpx.URL(link).raw_path.decode())

    async def pieces(self, request: Request) -> AsyncGenerator[bytes]:
        """Yield the content of an answer as it arrives. Raises JelmoreError, also when it breaks off."""
        timeout = httpx.Timeout(request.timeout_s, connect=10.0)
        params = dict(request.params) or None
        try:
            async with self._http.stream(request.method, request.path, params=params, timeout=timeout) as response:
                if response.status_code >= httpx.codes.BAD_REQUEST:
                    raise refusal(response.status_code, response.headers, await response.aread())
                async for piece in response.aiter_bytes():
                    yield piece
        except _HTTP_ERRORS as error:
            raise connection_failed(self.url, error) from error

    async def stream(self, path: str, cursor: Cursor) -> AsyncGenerator[Event]:
        """Yield events of one connection, until it breaks or the stream ends. Raises JelmoreError and TimeoutError."""
        silence_s = min(STREAM_SILENCE_S, cursor.left_s(time.monotonic()))
        timeout = httpx.Timeout(silence_s, connect=10.0)
        try:
            async with self._http.stream("GET", path, params=cursor.params(), timeout=timeout) as response:
                if response.status_code != httpx.codes.OK:
                    raise refusal(response.status_code, response.headers, await response.aread())
                decoder = SseDecoder()
                async for piece in response.aiter_bytes():
                    cursor.left_s(time.monotonic())
                    for frame in decoder.feed(piece):
                        event = cursor.take(frame)
                        if event is not None:
                            yield event
        except _HTTP_ERRORS as error:
            cursor.left_s(time.monotonic())
            raise connection_failed(self.url, error) from error


class AsyncSessions:
    """The sessions of a server."""

    def __init__(self, client: AsyncJelmore) -> None:
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
        return AsyncSession(self._client, SessionInfo.model_validate(found))

    async def get(self, session_id: str) -> "AsyncSession":
        """Return a session by id. Raises NotFoundError."""
        found = await self._client.request(Request("GET", session_path(session_id)))
        return AsyncSession(self._client, SessionInfo.model_validate(found))

    async def list(self, **filters: Any) -> AsyncIterator[SessionInfo]:
        """Yield sessions, newest first. `filters` are the list's query parameters, such as `status`."""
        params = {name: value for name, value in filters.items() if value is not None}
        async with aclosing(self._client.pages(Request("GET", f"{API}/sessions", params=params))) as pages:
            async for page in pages:
                for found in page:
                    yield SessionInfo.model_validate(found)


class AsyncSession(AsyncSessionPorts, AsyncSessionRepository):
    """A session. As a context manager it is ended on exit."""

    def __init__(self, client: AsyncJelmore, info: SessionInfo) -> None:
        self._client = client
        self.info = info
        self.files = AsyncFiles(client, info.id)

    @property
    def id(self) -> str:
        """The session's id."""
        return self.info.id

    def __repr__(self) -> str:
        return f"<Session {self.id} {self.info.status}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.end()

    async def refresh(self) -> SessionInfo:
        """Load the session again and return it."""
        self.info = SessionInfo.model_validate(await self._client.request(Request("GET", self._path())))
        return self.info

    async def send(self, prompt: Prompt, *, input_id: str | None = None) -> Accepted:
        """Send a prompt without waiting for its turn. The same `input_id` again is the same prompt.

        A prompt is a text, or content blocks: `{"type": "text", …}`, images, documents.
        """
        found = await self._client.request(requests.send_input(self.id, prompt, input_id))
        return Accepted.model_validate(found)

    async def ask(
        self, prompt: Prompt, *, timeout_s: float | None = None, on_request: AsyncAnswerer | None = None
    ) -> TurnResult:
        """Send a prompt and return the turn's result.

        `on_request` answers the agent's permissions and questions; without it, or when it returns None, the first
        request raises NeedsAnswerError. Raises TimeoutError after `timeout_s`; the turn continues until `interrupt`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        accepted = await self.send(prompt)
        left_s = None if deadline is None else deadline - time.monotonic()
        return await self.result(accepted, timeout_s=left_s, on_request=on_request)

    async def result(
        self, accepted: Accepted, *, timeout_s: float | None = None, on_request: AsyncAnswerer | None = None
    ) -> TurnResult:
        """Wait for the turn of an accepted prompt, as `ask` does. Raises SessionEndedError when it cannot finish."""
        for waiting in await self.pending():  # of an earlier turn too: this one is queued behind it
            await self._answer_by(waiting, on_request)
        async with aclosing(self.events(after=max(0, accepted.seq - 1), timeout_s=timeout_s)) as events:
            async for event in events:
                if event.kind in {"permission_requested", "question"}:
                    await self._answer_by(Pending.model_validate(event.data), on_request)
                if event.data.get("input_id") != accepted.input_id:
                    continue
                if event.kind == "turn_ended":
                    return TurnResult.model_validate(event.data)
                if event.kind == "interrupted":
                    return TurnResult(
                        input_id=accepted.input_id, outcome="failed", subtype=str(event.data.get("cause"))
                    )
        raise ended_early(self.id)

    async def _answer_by(self, pending: Pending, answerer: AsyncAnswerer | None) -> None:
        still = [each.request_id for each in await self.pending()]
        if pending.request_id not in still:
            return  # answered meanwhile, by somebody else
        answer = None if answerer is None else await answerer(pending)
        if answer is None:
            raise NeedsAnswerError(pending)
        with suppress(ConflictError):  # somebody else was first
            await self.answer(pending.request_id, answer)

    async def events(
        self, *, after: int | None = 0, timeout_s: float | None = None, deltas: bool = False
    ) -> AsyncGenerator[Event]:
        """Yield the session's output after `after` (None: only new output), live, until the session ends.

        Connects again when a connection breaks: no event is lost and none comes twice. Raises StreamGapError when
        requested output is no longer stored, ApiError when the server refuses, TimeoutError after `timeout_s`. With
        `deltas` also events of the kind `delta`: pieces of messages, with the seq of what was before; some may be lost.
        """
        cursor = Cursor(after, deltas=deltas, deadline=None if timeout_s is None else time.monotonic() + timeout_s)
        while True:
            failure: JelmoreError | None = None
            try:
                async with aclosing(self._client.stream(self._path("stream"), cursor)) as events:
                    async for event in events:
                        yield event
            except JelmoreError as error:
                failure = error
            delay_s = cursor.reconnect_delay_s(failure)
            if delay_s is not None:
                cursor.left_s(time.monotonic())
                await asyncio.sleep(delay_s)
            elif failure is not None and not cursor.ended:
                raise failure
            else:
                return

    async def pending(self) -> list[Pending]:
        """Return the permissions, questions and connections that wait for an answer."""
        found = await self._client.request(Request("GET", self._path("permissions")))
        return [Pending.model_validate(each) for each in found["pending"]]

    async def answer(self, request_id: str, answer: Answer) -> None:
        """Answer a permission, question or connection. Raises ConflictError when somebody else was first."""
        body = answer.model_dump(exclude_none=True)
        await self._client.request(Request("POST", self._path("permissions", request_id), json=body, repeatable=False))

    def terminal(self, terminal: str | None = None, *, command: str | None = None, **opening: Any) -> "AsyncTerminal":
        """Return a terminal in the session's sandbox, to be used as a context manager; it resumes the session.

        `terminal` is a name (`main` by default), `command` runs instead of a shell; `opening` are the other fields of
        docs/terminal.md, such as `pty`, `columns`, `rows` and `watch`. Needs the package `websockets`.
        """
        return self._client.open_terminal(self._path("terminal"), terminal=terminal, command=command, **opening)

    async def queue(self) -> list[Accepted]:
        """Return the prompts that wait for the agent, in order, also those that its session is being resumed for."""
        found = await self._client.request(Request("GET", self._path("queue")))
        return [Accepted.model_validate(each) for each in found["inputs"]]

    async def messages(self, *, after: int = 0) -> AsyncIterator[Message]:
        """Yield the conversation's stored messages."""
        request = Request("GET", self._path("messages"), params={"after": after, "limit": 500})
        async with aclosing(self._client.pages(request)) as pages:
            async for page in pages:
                for found in page:
                    yield Message.model_validate(found)

    async def change(self, **changes: Any) -> SessionInfo:
        """Change title, metadata, model, permission mode, timeouts or limits; return the session."""
        found = await self._client.request(Request("PATCH", self._path(), json=changes))
        self.info = SessionInfo.model_validate(found)
        return self.info

    async def interrupt(self) -> None:
        """Stop the running turn. May be called when none runs."""
        await self._client.request(Request("POST", self._path("interrupt")))

    async def resume(self) -> SessionInfo:
        """Start an ended session again, with its conversation and workspace."""
        found = await self._client.request(Request("POST", self._path("resume"), repeatable=False, timeout_s=120.0))
        self.info = SessionInfo.model_validate(found)
        return self.info

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
        return AsyncSession(self._client, SessionInfo.model_validate(await self._client.request(request)))

    async def end(self, reason: str = "deleted") -> SessionInfo:
        """End the session. May be called twice; record, output and workspace stay."""
        request = Request("DELETE", self._path(), params={"reason": reason}, timeout_s=120.0)
        self.info = SessionInfo.model_validate(await self._client.request(request))
        return self.info

    def _path(self, *parts: str) -> str:
        return session_path(self.info.id, *parts)
