"""The asynchronous client. `_sync.py` is generated from this file: change this one, then run `make client`."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import httpx

from jelmore_client._async_credentials import AsyncAuthorizations, AsyncCredentials
from jelmore_client._async_events import AsyncEventLog
from jelmore_client._async_operator import AsyncAdmin, AsyncBudgets, AsyncKeys
from jelmore_client._async_sessions import AsyncSessions
from jelmore_client._async_webhooks import AsyncWebhooks
from jelmore_client.core.problems import check, items_of, parse, refusal
from jelmore_client.core.requests import API, Request, given, new_id, retry_delay_s
from jelmore_client.core.streams import SseDecoder, StreamPosition
from jelmore_client.core.trust import trusted
from jelmore_client.errors import JelmoreError, connection_failed
from jelmore_client.models import Model
from jelmore_client.operator_models import Me, Profiles, UsageReport
from jelmore_client.people_models import AcceptedInvite, InboxEntry, Ticket

if TYPE_CHECKING:
    from datetime import date

    from jelmore_client._async_port import AsyncPortConnection
    from jelmore_client._async_terminal import AsyncTerminal

STREAM_SILENCE_S = 60.0
"""A stream without a byte for so long is broken: the server sends a comment every 15 seconds."""

_CONNECT_S: Final = 10.0
_HTTP_ERRORS: Final = (httpx.HTTPError, httpx.InvalidURL)


class AsyncJelmore:
    """A connection to a Jelmore server. May be used by several tasks; close it, or use it as a context manager.

    `url` defaults to JELMORE_URL or http://127.0.0.1:8080, `api_key` to JELMORE_API_KEY. `socket_path` connects to a
    unix socket instead of the URL's host. `on_retry` is called with the error and the seconds until a request is sent
    or a stream is opened again, for those who wait and wonder why.
    """

    on_retry: Callable[[JelmoreError, float], None] | None = None

    def __init__(self, url: str | None = None, *, api_key: str | None = None, socket_path: str | None = None) -> None:
        self.url = (url or os.environ.get("JELMORE_URL") or "http://127.0.0.1:8080").rstrip("/")
        key, self._socket_path = api_key or os.environ.get("JELMORE_API_KEY") or "", socket_path
        try:
            self._http = httpx.AsyncClient(
                base_url=self.url,
                headers={"X-API-Key": key} if key else {},
                timeout=httpx.Timeout(60.0, connect=_CONNECT_S),
                verify=trusted(self.url),
                transport=httpx.AsyncHTTPTransport(uds=socket_path) if socket_path else None,
            )
        except httpx.InvalidURL as error:
            raise connection_failed(self.url, error) from error
        self.sessions = AsyncSessions(self)
        self.events = AsyncEventLog(self)
        self.webhooks = AsyncWebhooks(self)
        self.credentials = AsyncCredentials(self)
        self.authorizations = AsyncAuthorizations(self)
        self.budgets = AsyncBudgets(self)
        self.keys = AsyncKeys(self)
        self.admin = AsyncAdmin(self)

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
        """Send a request and return its answer, which is a success. Raises JelmoreError, TimeoutError."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send_once(request)
            except JelmoreError as error:
                left_s = request.left_s(time.monotonic())
                delay_s = retry_delay_s(request, attempt, error)
                if delay_s is None:
                    raise
                if self.on_retry is not None:
                    self.on_retry(error, delay_s)
            await asyncio.sleep(delay_s if request.deadline is None else min(delay_s, left_s))

    async def _send_once(self, request: Request) -> httpx.Response:
        timeout_s = request.left_s(time.monotonic())
        try:
            response = await self._http.request(
                request.method,
                request.path,
                params=dict(request.params) or None,  # an empty mapping would remove the query of the path
                json=request.json,
                content=request.content,
                files=request.files,
                headers=dict(request.headers),
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, _CONNECT_S)),
            )
        except _HTTP_ERRORS as error:
            raise connection_failed(self.url, error) from error
        check(response.status_code, response.headers, response.content)
        return response

    async def health(self) -> Mapping[str, Any]:
        """Return the server's health report."""
        found: dict[str, Any] = await self.request(Request("GET", f"{API}/health"))
        return found

    async def me(self) -> Me:
        """Return the name and role of the key that this client uses. Raises UnauthenticatedError."""
        return await self.fetch(Request("GET", f"{API}/me"), Me)

    async def profiles(self) -> Profiles:
        """Return the profiles that a create may name, and the error of their file if it has one."""
        return await self.fetch(Request("GET", f"{API}/profiles"), Profiles)

    async def inbox(self, *, user: str | None = None, limit: int = 100) -> list[InboxEntry]:
        """Return live sessions and those that ended within a week: what waits for you first, then what is unread.

        `user` is the person of a key that several people use.
        """
        return await self.fetch_all(Request("GET", f"{API}/inbox", params=given(user=user, limit=limit)), InboxEntry)

    async def usage(
        self,
        by: Literal["day", "user", "key", "model", "session", "turn"] = "day",
        *,
        since: "date | None" = None,
        until: "date | None" = None,
        session_id: str | None = None,
        limit: int | None = None,
    ) -> UsageReport:
        """Return tokens and cost in US dollars of turns, summed up; of the 30 days up to `until` without `since`.

        `turn` needs a `session_id`. An admin sees all sessions, others their own. Raises NotFoundError for a session
        that the key may not see.
        """
        params = given(by=by, session_id=session_id, limit=limit)
        days = {"from": since, "to": until}
        params |= {name: day.isoformat() for name, day in days.items() if day is not None}
        return await self.fetch(Request("GET", f"{API}/usage", params=params), UsageReport)

    async def ticket(self, session_id: str | None = None) -> Ticket:
        """Return a ticket for one stream, of a session or of all events: for a browser, which cannot send a key.

        It works once, within a minute. Each call makes another one.
        """
        return await self.fetch(Request("POST", f"{API}/tickets", json=given(session_id=session_id)), Ticket)

    async def accept_invite(self, invite: str, name: str) -> AcceptedInvite:
        """Take part in a session by an invite, under a name; the client needs no key for this.

        The `credential` that is returned is the `api_key` of a client for this session. Not repeated: each acceptance
        uses the invite once. Raises UnauthenticatedError for an invite that is used up, expired or revoked.
        """
        body = {"invite": invite, "name": name}
        return await self.fetch(Request("POST", f"{API}/invites/accept", json=body, repeatable=False), AcceptedInvite)

    async def fetch[M: Model](self, request: Request, model: type[M]) -> M:
        """Send a request and return its answer as a model. Raises JelmoreError."""
        return model.read(await self.request(request))

    async def fetch_all[M: Model](self, request: Request, model: type[M], field: str | None = None) -> list[M]:
        """Send a request and return its answer, a list or a field with a list, as models. Raises JelmoreError."""
        found = await self.request(request)
        return [model.read(each) for each in items_of(found, field)]

    async def fetch_pages[M: Model](self, request: Request, model: type[M]) -> AsyncGenerator[M]:
        """Yield the items of all pages of a list as models. Raises JelmoreError."""
        async with aclosing(self.pages(request)) as pages:
            async for page in pages:
                for found in page:
                    yield model.read(found)

    def open_terminal(self, path: str, **opening: Any) -> "AsyncTerminal":
        """Return the terminal at this path; see `terminal` of a session."""
        from jelmore_client._async_terminal import AsyncTerminal

        key, url = self._http.headers.get("x-api-key"), "ws" + self.url.removeprefix("http") + path
        terminal = AsyncTerminal(url, key, opening, self._socket_path)
        terminal.on_retry = self.on_retry
        return terminal

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
            yield items_of(parse(response.content))
            link = response.links.get("next", {}).get("url")
            following = None if link is None else Request("GET", httpx.URL(link).raw_path.decode())

    async def pieces(self, request: Request) -> AsyncGenerator[bytes]:
        """Yield the content of an answer as it arrives. Raises JelmoreError, also when it breaks off."""
        timeout = httpx.Timeout(request.timeout_s, connect=_CONNECT_S)
        params = dict(request.params) or None
        try:
            async with self._http.stream(request.method, request.path, params=params, timeout=timeout) as response:
                if response.status_code >= httpx.codes.BAD_REQUEST:
                    raise refusal(response.status_code, response.headers, await response.aread())
                async for piece in response.aiter_bytes():
                    yield piece
        except _HTTP_ERRORS as error:
            raise connection_failed(self.url, error) from error

    async def save(
        self, request: Request, target: Path, progress: Callable[[int, int | None], None] | None = None
    ) -> int:
        """Write the content of an answer to a file; return its bytes. Memory is bounded. Raises JelmoreError, OSError.

        A file that is at `target` is replaced when the whole content has arrived: a failure leaves it unchanged.
        """
        size, target = 0, target.resolve()
        regular = target.is_file() or not target.exists()  # a device or a pipe cannot be replaced
        draft = target.with_name(f".{new_id()}.part") if regular else target
        try:
            with draft.open("wb") as file:
                async for piece in self.pieces(request):
                    size += file.write(piece)
                    if progress is not None:
                        progress(size, None)
            if regular:
                draft.replace(target)
        except BaseException:
            if regular:
                draft.unlink(missing_ok=True)
            raise
        return size

    async def stream[E](self, path: str, cursor: StreamPosition[E]) -> AsyncGenerator[E]:
        """Yield what `cursor` takes of one connection, until that breaks or the stream ends.

        Raises JelmoreError and TimeoutError.
        """
        silence_s = min(STREAM_SILENCE_S, cursor.left_s(time.monotonic()))
        timeout = httpx.Timeout(silence_s, connect=min(silence_s, _CONNECT_S))
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

    async def follow[E](self, path: str, cursor: StreamPosition[E]) -> AsyncGenerator[E]:
        """Yield what `cursor` takes of a stream, over as many connections as that needs.

        Raises JelmoreError that another connection does not repair, StreamGapError and TimeoutError.
        """
        while True:
            failure: JelmoreError | None = None
            try:
                async with aclosing(self.stream(path, cursor)) as events:
                    async for event in events:
                        yield event
            except JelmoreError as error:
                failure = error
            delay_s = cursor.reconnect_delay_s(failure)
            if delay_s is not None:
                left_s = cursor.left_s(time.monotonic())
                if failure is not None and self.on_retry is not None:
                    self.on_retry(failure, delay_s)
                await asyncio.sleep(min(delay_s, left_s))
            elif failure is not None and not cursor.ended:
                raise failure
            else:
                return
