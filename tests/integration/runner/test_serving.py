"""What a peer that reads nothing can hold: some bytes, for some seconds."""

import asyncio
import os
import socket
import tempfile
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.frames import Frame, Opcode

from jelmore_protocol.websocket_server import CONNECTION_KEY, WebSocketProtocol
from jelmore_runner.serving import make_server, stop_server
from jelmore_runner.settings import Address

pytestmark = pytest.mark.integration

DEADLINE_S = 30
PINGS = 60_000


def masked(opcode: Opcode, data: bytes) -> bytes:
    return bytes(Frame(opcode, data).serialize(mask=True))


class Server:
    """A real server whose application accepts, and then waits for one text."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "s.sock")
        self.opened: asyncio.Queue[WebSocket] = asyncio.Queue(10)
        self.texts: asyncio.Queue[str] = asyncio.Queue(10)

    async def serve(self, websocket: WebSocket) -> None:
        await websocket.accept()
        self.opened.put_nowait(websocket)
        self.texts.put_nowait(await websocket.receive_text())

    async def next(self) -> tuple[WebSocket, WebSocketProtocol]:
        websocket = await self.opened.get()
        return websocket, websocket.scope["state"][CONNECTION_KEY]


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    with tempfile.TemporaryDirectory(prefix="jr-") as folder:
        answers = Server(Path(folder))
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(answers.path)
        listener.listen()
        server = make_server(Starlette(routes=[WebSocketRoute("/ws", answers.serve)]))
        task = asyncio.create_task(server.serve(sockets=[listener]), name="server")
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield answers
        finally:
            await stop_server(server, task, Address(path=answers.path))


@asynccontextmanager
async def deaf_peer(server: Server) -> AsyncIterator[asyncio.StreamWriter]:
    """Connect, shake callbacks, and read nothing more."""
    reader, writer = await asyncio.open_unix_connection(server.path, limit=1024)
    key = b64encode(os.urandom(16)).decode()
    head = f"Host: s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}"
    writer.write(f"GET /ws HTTP/1.1\r\n{head}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    assert b"101" in await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]  # a unix socket's transport can
    try:
        yield writer
    finally:
        writer.transport.abort()


async def test_pings_of_a_peer_that_reads_nothing_fill_no_memory() -> None:
    async with serving() as server, deaf_peer(server) as writer:
        _, protocol = await server.next()
        pings = masked(Opcode.PING, b"x" * 125) * 100
        for _ in range(PINGS // 100):
            writer.write(pings)
            await writer.drain()
        writer.write(masked(Opcode.TEXT, b"all sent"))
        assert await server.texts.get() == "all sent"
        assert protocol.transport.get_write_buffer_size() < 1024 * 1024


@pytest.mark.parametrize("closed", ["by the application", "by its end", "by the peer"])
async def test_a_peer_that_reads_nothing_cannot_hold_a_closed_connection(closed: str) -> None:
    async with serving() as server, deaf_peer(server) as writer:
        websocket, protocol = await server.next()
        await websocket.send_text("x" * 4 * 1024 * 1024)
        if closed == "by the application":
            protocol.writable.set()  # the close itself found room
            await websocket.close(1001)
        opcode = Opcode.CLOSE if closed == "by the peer" else Opcode.TEXT
        writer.write(masked(opcode, (1000).to_bytes(2) if opcode is Opcode.CLOSE else b"the end"))
        while protocol in protocol.connections:
            await asyncio.sleep(0.02)
    assert protocol.disconnected
