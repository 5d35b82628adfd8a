"""A process that is near its limit of open files refuses new connections, and continues to serve the others."""

import asyncio
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from jelmore.api.serving import server_config
from jelmore_runner.egress import EgressForwarder
from jelmore_runner.gateway import Gateway
from jelmore_runner.serving import make_server, stop_server
from jelmore_runner.settings import Address
from tests.integration.api.served import Server

pytestmark = pytest.mark.integration

MAX_OPEN = 320
HEADERS = "Host: x\r\nConnection: keep-alive\r\n"
REQUEST = f"GET / HTTP/1.1\r\n{HEADERS}\r\n".encode()
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


async def talk(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.receive()


APP = Starlette(routes=[Route("/", hello), WebSocketRoute("/ws", talk)])


@contextmanager
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_OPEN, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@asynccontextmanager
async def served(kind: str, folder: Path) -> AsyncIterator[str]:
    path = str(folder / "s.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(512)
    listener.setblocking(False)
    server = make_server(APP) if kind == "runner" else Server(server_config(APP))
    task = asyncio.create_task(server.serve(sockets=[listener]), name="server")
    try:
        yield path
    finally:
        await stop_server(server, task, Address.parse(f"unix:{path}"))  # type: ignore[arg-type]  # any uvicorn server


async def head(path: str, request: bytes, stack: ExitStack) -> bytes:
    """Open a connection that stays open; return the first bytes of the response to a request on it."""
    reader, writer = await asyncio.open_unix_connection(path)
    stack.callback(writer.close)
    writer.write(request)
    async with asyncio.timeout(10):
        return await reader.read(4096)


@pytest.mark.parametrize("kind", ["manager", "runner"])
@pytest.mark.parametrize("request_bytes", [REQUEST, UPGRADE], ids=["http", "websocket"])
async def test_descriptors_are_kept_in_reserve(kind: str, request_bytes: bytes, tmp_path: Path) -> None:
    good = b"HTTP/1.1 200" if request_bytes is REQUEST else b"HTTP/1.1 101"
    async with served(kind, tmp_path) as path:
        with few_descriptors(), ExitStack() as stack:
            first_reader, first_writer = await asyncio.open_unix_connection(path)
            stack.callback(first_writer.close)
            answers: list[bytes] = []
            while (answer := await head(path, request_bytes, stack)).startswith(good):
                answers.append(answer)
                assert len(answers) < MAX_OPEN
            assert len(answers) > 20
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer.lower()
            assert b"too_many_connections" in answer
            with (tmp_path / "journal").open("w") as kept:  # the process itself can still open what it needs
                kept.write("x")
            first_writer.write(REQUEST)
            async with asyncio.timeout(10):
                assert (await first_reader.read(4096)).startswith(b"HTTP/1.1 200"), "who is in is served on"
        async with asyncio.timeout(10):
            while True:
                with ExitStack() as stack:
                    if (await head(path, REQUEST, stack)).startswith(b"HTTP/1.1 200"):
                        return
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("way", [Gateway, EgressForwarder])
async def test_an_agent_cannot_take_the_descriptors_of_its_runner(
    way: type[Gateway | EgressForwarder], tmp_path: Path
) -> None:
    nowhere = Address.parse(f"unix:{tmp_path / 'none'}")
    gateway = Gateway(nowhere, "t") if way is Gateway else EgressForwarder(nowhere)
    await gateway.start()
    serving = asyncio.create_task(gateway.run(), name="gateway")
    with few_descriptors(), ExitStack() as stack:
        refused = b""
        for _ in range(MAX_OPEN):
            reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
            stack.callback(writer.close)
            try:
                async with asyncio.timeout(0.05):
                    refused = await reader.read(4096)
            except TimeoutError:
                continue  # an idle connection, as intended
            break
        assert refused.startswith(b"HTTP/1.1 503 ")
        with (tmp_path / "journal").open("w") as kept:
            kept.write("x")
    serving.cancel()
    await asyncio.wait({serving})
