"""Peers that send and read nothing: what they cost is bounded, and they are gone in time."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.client import ClientProtocol
from websockets.uri import parse_uri

from jelmore.api import serving
from jelmore.api.services import _KEY, ApiConfig, Context
from jelmore.ports import Role
from jelmore_protocol.events import EventKind
from jelmore_protocol.websocket_server import uvicorn_protocol
from tests.integration.api.world import World, world
from tests.support.waiting import until

PATH = "/api/v1/sessions/0198c0de-0000-7000-8000-000000000001/stream"
MAX_BUFFERED_BYTES = 1024 * 1024
PINGS_BYTES = 6 * 1024 * 1024


class Peer:
    """The other end of a WebSocket, which opens it and then reads nothing."""

    def __init__(self, writer: asyncio.StreamWriter, protocol: ClientProtocol) -> None:
        self._writer = writer
        self._protocol = protocol

    async def ping(self, total_bytes: int) -> None:
        """Send pings of about so many bytes together."""
        sent = 0
        while sent < total_bytes:
            for _ in range(100):
                self._protocol.send_ping(b"x" * 125)
            sent += await self._flush()

    async def close(self) -> None:
        """Send a close frame."""
        self._protocol.send_close(1000)
        await self._flush()

    async def _flush(self) -> int:
        data = b"".join(self._protocol.data_to_send())
        self._writer.write(data)
        async with asyncio.timeout(10):
            await self._writer.drain()
        return len(data)


@asynccontextmanager
async def silent(api: World) -> AsyncIterator[Peer]:
    """Open a WebSocket and read no more than the answer's head."""
    reader, writer = await asyncio.open_unix_connection(api.socket_path, limit=4096)
    protocol = ClientProtocol(parse_uri(f"ws://test{PATH}"))
    protocol.send_request(protocol.connect())
    writer.write(b"".join(protocol.data_to_send()))
    async with asyncio.timeout(10):
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
    try:
        yield Peer(writer, protocol)
    finally:
        writer.transport.abort()


@pytest.fixture
def quick_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a peer a tenth of a second where it is five otherwise."""
    monkeypatch.setattr(uvicorn_protocol, "LINGER_S", 0.1)


async def test_pings_of_one_who_reads_nothing_pile_up_nowhere() -> None:
    async with world(ApiConfig(auth_timeout_s=60)) as api, silent(api) as peer:
        await peer.ping(PINGS_BYTES)
        (served,) = api.open_sockets()
        assert not served.writable.is_set()
        assert served.transport.get_write_buffer_size() < MAX_BUFFERED_BYTES


@pytest.mark.usefixtures("quick_end")
async def test_one_who_only_pings_is_gone_when_it_never_says_who_it_is() -> None:
    async with world(ApiConfig(auth_timeout_s=0.5, send_timeout_s=0.2)) as api, silent(api) as peer:
        with suppress(ConnectionError):  # it may be gone before the last ping
            await peer.ping(PINGS_BYTES)
        await until(lambda: not api.open_sockets())


@pytest.mark.usefixtures("quick_end")
async def test_one_who_closes_and_takes_nothing_is_gone() -> None:
    async with world(ApiConfig(auth_timeout_s=60)) as api, silent(api) as peer:
        await peer.ping(PINGS_BYTES)
        await peer.close()
        await until(lambda: not api.open_sockets())


@pytest.mark.usefixtures("quick_end")
async def test_one_who_is_closed_with_room_left_and_takes_nothing_is_gone() -> None:
    async with world(ApiConfig(auth_timeout_s=8)) as api, silent(api) as peer:  # longer than the pings take
        (served,) = api.open_sockets()
        served.transport.set_write_buffer_limits(high=2 * PINGS_BYTES)
        await peer.ping(PINGS_BYTES)
        assert served.writable.is_set()
        await until(lambda: served.close_sent)
        await until(lambda: not api.open_sockets())


@asynccontextmanager
async def asking(api: World, what: str) -> AsyncIterator[asyncio.StreamReader]:
    """Ask for something of a session with a lot of output, and let the caller read the answer."""
    async with api.client() as http:
        session_id = (await http.post("/api/v1/sessions")).json()["id"]
    runner = await api.runner(session_id)
    for _ in range(8):
        await runner.say(EventKind.ERROR, {"code": "x", "message": "y" * 250_000})
    await api.stored(session_id, runner.seq)
    reader, writer = await asyncio.open_unix_connection(api.socket_path, limit=4096)
    head = f"GET /api/v1/sessions/{session_id}/{what} HTTP/1.1\r\nHost: test\r\nX-API-Key: {api.keys[Role.ADMIN]}\r\n"
    writer.write(f"{head}Connection: close\r\n\r\n".encode())
    try:
        yield reader
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("what", ["output", "stream?after=0"])
async def test_one_who_takes_nothing_of_an_answer_is_gone(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setattr(serving, "STALLED_S", 0.2)
    async with world(ApiConfig(send_timeout_s=0.1)) as api, asking(api, what):
        await until(lambda: any(each.transport.get_write_buffer_size() for each in api.open_requests()))
        await until(lambda: not api.open_requests())


async def test_one_who_takes_an_answer_slowly_gets_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STALLED_S", 0.5)
    async with world() as api, asking(api, "output") as reader, asyncio.timeout(30):
        began = asyncio.get_running_loop().time()
        taken = 0
        while piece := await reader.read(20_000):
            taken += len(piece)
            await asyncio.sleep(0.01)  # a slow line, not a wait for something
        assert taken > 2_000_000
        assert asyncio.get_running_loop().time() - began > 0.5


async def test_answers_that_nobody_reads_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One who reads a byte now and then holds an answer for as long as it likes, on each of its connections."""
    monkeypatch.setattr(serving, "MAX_UNREAD_BYTES", 5_000_000)
    async with world() as api, asking(api, "output") as first:
        await until(lambda: len(serving.HttpProtocol.unread) == 1)
        [longest] = serving.HttpProtocol.unread
        async with asking(api, "output"), asking(api, "output") as last, asyncio.timeout(30):
            await until(lambda: longest not in serving.HttpProtocol.unread)
            assert sum(serving.HttpProtocol.unread.values()) <= 5_000_000
            with suppress(ConnectionError):
                while await first.read(2**20):
                    pass
            taken = 0
            while piece := await last.read(2**20):
                taken += len(piece)
            assert taken > 2_000_000, "who came last is served"
    assert not serving.HttpProtocol.unread


async def test_bodies_that_arrive_are_bounded_in_all() -> None:
    async with world() as api:
        context: Context = getattr(api.app.state, _KEY)
        bodies = context.stream_limits.limits.bodies
        bodies.most = 1_000_000
        head = f"POST /api/v1/sessions HTTP/1.1\r\nHost: test\r\nX-API-Key: {api.keys[Role.ADMIN]}\r\n"
        head += "Content-Type: application/json\r\nContent-Length: 2000000\r\n\r\n"
        slow = []
        for _ in range(2):
            reader, writer = await asyncio.open_unix_connection(api.socket_path)
            writer.write(head.encode() + b" " * 600_000)
            slow.append((reader, writer))
            if len(slow) == 1:
                await until(lambda: bodies.used == 600_000)
        async with asyncio.timeout(10):
            assert (await slow[1][0].readline()).startswith(b"HTTP/1.1 429 ")
        async with api.client() as http:
            assert (await http.post("/api/v1/sessions", json={"title": "small"})).status_code == 201
        for _, writer in slow:
            writer.transport.abort()
        await until(lambda: bodies.used == 0)
