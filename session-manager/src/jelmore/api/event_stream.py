"""Live output as server-sent events.

Items are pulled one at a time, so a slow client holds at most one frame in memory, for a bounded time.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Never

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jelmore.api.problems import problem_of, status_of
from jelmore.control.streams import StreamItem
from jelmore.session.errors import CapacityError, JelmoreError
from jelmore_protocol.websocket_server import TooManyError

_log = structlog.get_logger(__name__)

RETRY_MS: Final = 1000
_HEADERS: Final[Mapping[str, str]] = {
    "Cache-Control": "no-cache, no-store",
    "X-Accel-Buffering": "no",  # proxies must not buffer the stream
}


class _GoneError(Exception):
    """The client has disconnected or has stopped reading."""


class EventStream(Response):
    """A response that sends `items` until they end, the client disconnects, or a send takes over `send_timeout_s`.

    `stays` never returns; it raises when the client's credential no longer allows the stream, which then sends an
    `error` event and ends. Each frame is an event named by its kind, with the frame as data. Output carries its seq
    as the event id, so that a browser reconnects with `Last-Event-ID`. `items` is always closed. `counted` holds the
    stream's place; without one (TooManyError) the answer is a 429 problem.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        items: AsyncIterator[StreamItem],
        after: int | None,
        stays: Coroutine[Any, Any, Never],
        *,
        send_timeout_s: float,
        ping_every_s: float,
        counted: AbstractContextManager[object],
    ) -> None:
        super().__init__(headers=dict(_HEADERS))
        del self.headers["content-length"]
        self._items = items
        self._after = after
        self._stays = stays
        self._send_timeout_s = send_timeout_s
        self._ping_every_s = ping_every_s
        self._counted = counted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Disconnects of the client are not errors."""
        gone = asyncio.create_task(_until_gone(receive), name="event stream: reader's end")
        revoked: asyncio.Task[None] = asyncio.create_task(self._stays, name="event stream: admission")
        try:
            with self._counted:
                await self._bounded(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._send_all(send, gone, revoked)
                await self._bounded(send, {"type": "http.response.body", "body": b""})
        except _GoneError:
            return
        except TooManyError:
            refusal = CapacityError("too many streams are open; close one or try again later")
            await problem_of(refusal, HTTPConnection(scope))(scope, receive, send)
        finally:
            gone.cancel()
            revoked.cancel()
            await asyncio.wait({gone, revoked})
            await self._items.aclose()  # type: ignore[attr-defined]  # an async generator, typed as AsyncIterator

    async def _send_all(self, send: Send, gone: "asyncio.Task[None]", revoked: "asyncio.Task[None]") -> None:
        try:
            while (item := await self._next(send, gone, revoked)) is not None:
                await self._body(send, self._frame(item))
        except JelmoreError as error:
            await self._body(send, _failure(error))

    async def _next(self, send: Send, gone: "asyncio.Task[None]", revoked: "asyncio.Task[None]") -> StreamItem | None:
        """Return the next item, or None at the end; send keepalives while waiting.

        Raises _GoneError when the client has disconnected, and what `stays` or `items` raise.
        """
        pulled = asyncio.create_task(_pull(self._items), name="event stream: next item")
        ends = {pulled, gone, revoked}
        try:
            while not pulled.done():
                await asyncio.wait(ends, timeout=self._ping_every_s, return_when=asyncio.FIRST_COMPLETED)
                if gone.done():
                    raise _GoneError
                if revoked.done():
                    revoked.result()
                if not pulled.done():
                    await self._body(send, KEEPALIVE_COMMENT)
        finally:
            pulled.cancel()
            await asyncio.wait({pulled})
        return pulled.result()

    async def _body(self, send: Send, body: bytes) -> None:
        await self._bounded(send, {"type": "http.response.body", "body": body, "more_body": True})

    async def _bounded(self, send: Send, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await send(message)
        except TimeoutError:
            _log.info("reader_cut_off", transport="sse", send_timeout_s=self._send_timeout_s)
            raise _GoneError from None
        except OSError:
            raise _GoneError from None

    def _frame(self, item: StreamItem) -> bytes:
        if item.kind == "cursor":  # an id without data: browsers keep it and dispatch nothing
            return f"id: {item.seq}\n\n".encode()
        if item.kind == "hello":
            return format_sse_event(
                event=item.kind, data_str=item.text, id=str(_position(item.text, self._after)), retry=RETRY_MS
            )
        return format_sse_event(event=item.kind, data_str=item.text, id=None if item.seq is None else str(item.seq))


def _position(hello: str, after: int | None) -> int:
    """Return the event id of `hello`: where a client that disconnects right after it resumes."""
    frame = json.loads(hello)
    if frame.get("resume") == "gap":
        return 0
    return int(frame["seq"]) if after is None else after


def _failure(error: JelmoreError) -> bytes:
    """Return the event that says why the stream ends. Browsers reconnect by themselves."""
    status, title = status_of(error)
    _log.warning("stream_broke", code=error.code, error=str(error))
    body = {"type": "error", "code": error.code, "message": title, "status": status}
    return format_sse_event(event="error", data_str=json.dumps(body))


async def _pull(items: AsyncIterator[StreamItem]) -> StreamItem | None:
    return await anext(items, None)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
