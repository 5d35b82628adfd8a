"""Passes the messages of a WebSocket between a browser and a server in a sandbox."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore.ports import PortSocket, PortSocketClosedError
from jelmore_protocol.first_of import first_of
from jelmore_protocol.websocket_server import ClosedError, Connection

MAX_MESSAGE_BYTES: Final = 1024 * 1024
_GOING_AWAY: Final = 1001
_MAX_REASON_BYTES: Final = 120
_SENDABLE: Final = frozenset({1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)})
"""The close codes that a peer may send; the others say that there was none."""


async def pass_messages(websocket: WebSocket, link: PortSocket, send_timeout_s: float) -> None:
    """Accept the WebSocket and pass messages until either side closes. The server's close code passes."""
    await websocket.accept(link.subprotocol)
    connection = Connection(websocket, send_timeout_s)
    connection.limit_frames(MAX_MESSAGE_BYTES)
    try:
        await first_of("port", {"inward": _inward(connection, link), "outward": _outward(connection, link)})
    except PortSocketClosedError as closed:
        reason = closed.reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        code = closed.code if closed.code in _SENDABLE else _GOING_AWAY
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError, OSError):
            async with asyncio.timeout(send_timeout_s):
                await websocket.close(code, reason)
    except ClosedError:
        return


async def _inward(connection: Connection, link: PortSocket) -> None:
    while True:
        await link.send(await connection.receive_any())


async def _outward(connection: Connection, link: PortSocket) -> None:
    while True:
        await connection.send(await link.receive())
