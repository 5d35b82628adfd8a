"""Uploads to a port whose server answers before it has read them: no piece is lost, and no response either."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from tests.integration.api.test_port_origin import api, entered
from tests.integration.api.test_socket import new_session
from tests.integration.api.world import World

__all__ = ["api"]

PIECE = bytes(range(256)) * 256
BEGIN = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"

type Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def answering(answer: Answer) -> AsyncIterator[int]:
    """Yield the port of a server that calls `answer` once it has read a request's head."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await answer(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listening:
        yield int(listening.sockets[0].getsockname()[1])


async def pieces(count: int, answered: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield the pieces of an upload, all but the first once the server has answered."""
    yield PIECE
    await answered.wait()
    for _ in range(count - 1):
        yield PIECE


async def test_a_server_that_answers_early_gets_the_whole_upload(api: World) -> None:
    size, answered = 400 * len(PIECE), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(BEGIN + b"reading ")
        await writer.drain()
        answered.set()
        await asyncio.sleep(1)  # longer than all buffers between last
        writer.write(hashlib.sha256(await reader.readexactly(size)).hexdigest().encode())
        await writer.drain()

    session_id, _ = await new_session(api)
    async with answering(answer) as port, entered(api, session_id, port) as http:
        async with asyncio.timeout(20):
            got = await http.post("/", content=pieces(400, answered), headers={"Content-Length": str(size)})
    assert got.text == f"reading {hashlib.sha256(PIECE * 400).hexdigest()}"


@pytest.mark.parametrize("count", [16, 400])
async def test_a_response_without_the_upload_arrives(api: World, count: int) -> None:
    answered = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig")
        await writer.drain()
        answered.set()
        await asyncio.sleep(0.5)

    session_id, _ = await new_session(api)
    async with answering(answer) as port, entered(api, session_id, port) as http:
        async with asyncio.timeout(20):
            got = await http.post("/", content=pieces(count, answered))
        assert (got.status_code, got.text) == (413, "big")
        assert (await http.get("/")).status_code == 413
