"""`TerminalLinks` over a WebSocket on a runner's control socket."""

import asyncio
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import aiohttp

from jelmore.drivers.runner_answers import translated
from jelmore.drivers.runner_http import CONNECT_S, opened_session
from jelmore.ports import ControlAddress, TerminalClosedError, TerminalLink
from jelmore.session.errors import DependencyError, RefusedError
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.terminal import RING_BYTES

OPEN_S: Final = 35.0
"""Deadline of the answer to `open`. Above the 30 s that the runner waits for its journal."""

SEND_S: Final = 30.0
HEARTBEAT_S: Final = 20.0
_LOST: Final = 1006
_NO_ROUTE: Final = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND})


class RunnerTerminals:
    """Connects to the terminals of all runners."""

    async def connect(self, at: ControlAddress, opening: str, *, subject: str, can_write: bool) -> TerminalLink:
        """Send an `open` frame; return the connection once the runner has answered it."""
        query = urlencode({"subject": subject, "write": int(can_write)})
        async with AsyncExitStack() as stack:
            session, base = await stack.enter_async_context(opened_session(at))
            async with translated(OPEN_S):
                try:
                    websocket = await session.ws_connect(
                        f"{base}/terminal?{query}",
                        heartbeat=HEARTBEAT_S,
                        max_msg_size=RING_BYTES,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CONNECT_S),
                    )
                except aiohttp.WSServerHandshakeError as error:
                    if error.status in _NO_ROUTE:
                        words = "the session's sandbox is of an earlier version without terminals; restart the session"
                        raise RefusedError("runner", words) from None
                    raise
                stack.push_async_callback(websocket.close)
                await websocket.send_str(opening)
                first = await websocket.receive()
            if first.type is not aiohttp.WSMsgType.TEXT:
                code = websocket.close_code or _LOST
                if code in {CloseCode.TRY_LATER, CloseCode.GOING_AWAY, _LOST}:
                    raise DependencyError("runner", "it takes no terminals for now")
                raise RefusedError("runner", f"it closed the terminal with {code}")
            return _Link(websocket, stack.pop_all(), first.data)


class _Link:
    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, stack: AsyncExitStack, first: str) -> None:
        self._websocket = websocket
        self._stack = stack
        self._first: str | None = first

    async def receive(self) -> str | bytes:
        """Return the next frame of the runner."""
        if self._first is not None:
            first, self._first = self._first, None
            return first
        message = await self._websocket.receive()
        if message.type in {aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY}:
            frame: str | bytes = message.data
            return frame
        raise TerminalClosedError(self._websocket.close_code or _LOST)

    async def send(self, frame: str | bytes) -> None:
        """Send a frame to the runner."""
        try:
            async with asyncio.timeout(SEND_S):
                await (self._websocket.send_str(frame) if isinstance(frame, str) else self._websocket.send_bytes(frame))
        except (aiohttp.ClientError, OSError, ValueError):
            raise TerminalClosedError(self._websocket.close_code or _LOST) from None

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()
