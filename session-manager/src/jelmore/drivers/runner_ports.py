"""`PortConnections` over WebSockets on a runner's control socket."""

import asyncio
from contextlib import AsyncExitStack
from http import HTTPStatus
from typing import Final
from urllib.parse import urlencode

import aiohttp

from jelmore.drivers.runner_answers import translated
from jelmore.drivers.runner_http import CONNECT_S, opened_session
from jelmore.ports import ControlAddress, PortClosedError, PortConnection
from jelmore.session.errors import CapacityError, DependencyError, JelmoreError, NotFoundError, RefusedError
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.sandbox_ports import END, MAX_CONNECTIONS, MAX_FRAME_BYTES

OPEN_S: Final = 15.0
"""Deadline of the handshake. Above the 10 s that the runner waits for the server."""

SEND_S: Final = 30.0
HEARTBEAT_S: Final = 20.0
_IN_ORDER: Final = 1000


class RunnerPorts:
    """Connects to the ports of all sandboxes."""

    async def connect(self, at: ControlAddress, port: int, *, subject: str) -> PortConnection:
        """Connect to a port of the sandbox's loopback."""
        async with AsyncExitStack() as stack:
            session, base = await stack.enter_async_context(opened_session(at))
            async with translated(OPEN_S):
                try:
                    websocket = await session.ws_connect(
                        f"{base}/ports/{port}?{urlencode({'subject': subject})}",
                        heartbeat=HEARTBEAT_S,
                        max_msg_size=MAX_FRAME_BYTES + 1,
                        timeout=aiohttp.ClientWSTimeout(ws_close=CONNECT_S),
                    )
                except aiohttp.WSServerHandshakeError as error:
                    raise _refusal(error.status, port) from None
            stack.push_async_callback(websocket.close)
            return _Connection(websocket, stack.pop_all())


def _refusal(status: int, port: int) -> JelmoreError:
    if status == HTTPStatus.NOT_FOUND:
        return NotFoundError(f"nothing of the session listens on port {port}")
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return CapacityError(f"a session has at most {MAX_CONNECTIONS} connections to its ports")
    if status == HTTPStatus.FORBIDDEN:
        words = "the sandbox has no ports for now, or is of an earlier version; restart the session if it stays so"
        return RefusedError("runner", words)
    return DependencyError("runner", f"port {port} takes no connection")


class _Connection:
    def __init__(self, websocket: aiohttp.ClientWebSocketResponse, stack: AsyncExitStack) -> None:
        self._websocket = websocket
        self._stack = stack

    async def receive(self) -> bytes:
        """Return the next bytes of the server."""
        while True:
            message = await self._websocket.receive()
            if message.type is aiohttp.WSMsgType.BINARY:
                data: bytes = message.data
                if data:
                    return data
            elif message.type is not aiohttp.WSMsgType.TEXT:
                raise self._closed()

    async def send(self, data: bytes) -> None:
        """Send bytes."""
        await self._send(data)

    async def end(self) -> None:
        """Say that no more bytes are sent."""
        await self._send(END)

    async def _send(self, frame: str | bytes) -> None:
        try:
            async with asyncio.timeout(SEND_S):
                await (self._websocket.send_str(frame) if isinstance(frame, str) else self._websocket.send_bytes(frame))
        except (aiohttp.ClientError, OSError, ValueError):
            raise self._closed() from None

    def _closed(self) -> PortClosedError:
        code = self._websocket.close_code
        return PortClosedError(in_order=code == _IN_ORDER, revoked=code == CloseCode.UNAUTHENTICATED)

    async def close(self) -> None:
        """Close the connection."""
        await self._stack.aclose()
