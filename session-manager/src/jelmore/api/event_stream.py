"""Live output as server-sent events.

Items are pulled one at a time, so a slow client holds at most one frame in memory, for a bounded time.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AbstractContextManager
from typing import Any, Final, Never, NoReturn

import structlog
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from jelmore.api.problems import problem_of, status_of
from jelmore.control.stream_frames import StreamItem
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
        self._sent_at = asyncio.get_running_loop().time()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Disconnects of the client are not errors."""
        try:
            with self._counted:
                await self._bounded(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                await self._send_all(receive, send)
                await self._bounded(send, {"type": "http.response.body", "body": b""})
        except _GoneError:
            return
        except TooManyError:
            refusal = CapacityError("too many streams are open; close one or try again later")
            await problem_of(refusal, HTTPConnection(scope))(scope, receive, send)
        finally:
            self._stays.close()  # of a stream that did not begin; it has ended otherwise
            await self._items.aclose()  # type: ignore[attr-defined]  # an async generator, typed as AsyncIterator

    async def _send_all(self, receive: Receive, send: Send) -> None:
        """Send the items until they end. What ends a stream early runs beside it, so that an item waits for nothing.

        Raises _GoneError when the client has disconnected or stopped reading.
        """
        tasks = {
            asyncio.create_task(self._send_items(send), name="event stream: items"),
            asyncio.create_task(self._keep_alive(send), name="event stream: keepalive"),
            asyncio.create_task(_until_gone(receive), name="event stream: reader's end"),
            asyncio.create_task(self._stays, name="event stream: admission"),
        }
        try:
            ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        try:
            for task in ended:
                task.result()
        except JelmoreError as error:
            await self._body(send, _failure(error))

    async def _send_items(self, send: Send) -> None:
        async for item in self._items:
            await self._body(send, self._frame(item))

    async def _keep_alive(self, send: Send) -> NoReturn:
        """Send a comment whenever nothing was sent for `ping_every_s`."""
        while True:
            left_s = self._sent_at + self._ping_every_s - asyncio.get_running_loop().time()
            if left_s > 0:
                await asyncio.sleep(left_s)
            else:
                await self._body(send, KEEPALIVE_COMMENT)

    async def _body(self, send: Send, body: bytes) -> None:
        await self._bounded(send, {"type": "http.response.body", "body": body, "more_body": True})
        self._sent_at = asyncio.get_running_loop().time()

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


async def _until_gone(receive: Receive) -> NoReturn:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _GoneError
