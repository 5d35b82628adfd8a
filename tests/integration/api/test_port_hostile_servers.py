"""What a server in a session may send to a manager: heads, statuses and messages within bounds."""

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import InvalidStatus

from jelmore.api import stream_limits
from jelmore.api.services import ApiConfig
from jelmore.drivers import port_http
from tests.integration.api.test_port_origin import api, closed, connected, entered
from tests.integration.api.test_socket import new_session
from tests.integration.api.world import World, world

__all__ = ["api"]

OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = b"Content-Length: 0\r\n\r\n"


@asynccontextmanager
async def sending(*pieces: bytes, pause_s: float = 0) -> AsyncIterator[int]:
    """Yield the port of a server that answers each request with these pieces, and then waits."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        yield int(listening.sockets[0].getsockname()[1])


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 099 Low\r\n",
        b"HTTP/1.1 600 High\r\n",
        b"HTTP/1.1 999 High\r\n",
        OK + b"X-Bell: \x07\r\n",
        OK + b"X-Escape: a\x1b[2Jb\r\n",
        OK + b"X-Delete: \x7f\r\n",
    ],
)
async def test_a_head_that_cannot_be_sent_on_is_reported(api: World, head: bytes) -> None:
    session_id, _ = await new_session(api)
    async with sending(head + EMPTY) as port, entered(api, session_id, port) as http:
        answer = await http.get("/")
        assert (answer.status_code, "does not answer" in answer.text) == (502, True)
        with pytest.raises(InvalidStatus) as refused:
            async with connected(api, session_id, port, http.cookies["jelmore_port"]):
                pass
        assert refused.value.response.status_code in {502, 200}


async def test_a_large_head_passes(api: World) -> None:
    session_id, _ = await new_session(api)
    fields = b"".join(b"X-%d: %s\r\n" % (number, b"x" * 1000) for number in range(55))
    async with sending(OK + fields + EMPTY) as port, entered(api, session_id, port) as http:
        assert len((await http.get("/")).headers["x-54"]) == 1000


async def test_a_head_without_end_takes_no_memory(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_http, "HEAD_S", 1.0, raising=False)
    session_id, _ = await new_session(api)
    fields = [b"X-%d: %s\r\n" % (number, b"x" * 60_000) for number in range(100)]
    async with sending(OK, *fields, EMPTY) as port, entered(api, session_id, port) as http:
        assert (await http.get("/")).status_code == 502


async def test_a_head_that_drips_has_a_deadline(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_http, "HEAD_S", 1.0, raising=False)
    session_id, _ = await new_session(api)
    drops = [bytes([each]) for each in OK + b"X-Slow: " + b"x" * 200]
    async with sending(*drops, pause_s=0.05) as port, entered(api, session_id, port) as http:
        async with asyncio.timeout(6):
            assert (await http.get("/")).status_code == 502


async def test_a_server_may_take_its_time_before_its_head(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port_http, "HEAD_S", 0.3)
    session_id, _ = await new_session(api)
    async with sending(b"", OK + EMPTY, pause_s=1) as port, entered(api, session_id, port) as http:
        assert (await http.get("/")).status_code == 200


async def test_a_message_has_at_most_a_mebibyte(api: World) -> None:
    sizes: list[int] = []

    async def talk(websocket: ServerConnection) -> None:
        async for message in websocket:
            sizes.append(len(message))
            await websocket.send(bytes(int(message)) if isinstance(message, str) else b"got it")

    session_id, _ = await new_session(api)
    async with serve(talk, "127.0.0.1", 0, max_size=None, compression=None) as server:
        port = int(next(iter(server.sockets)).getsockname()[1])
        async with entered(api, session_id, port) as http:
            cookie = http.cookies["jelmore_port"]
        async with connected(api, session_id, port, cookie) as websocket:
            await websocket.send(bytes(1_000_000))
            assert await websocket.recv() == b"got it"
            await websocket.send("1000000")
            assert len(await websocket.recv()) == 1_000_000
            await websocket.send("1100000")
            assert await closed(websocket) == 1009
        async with connected(api, session_id, port, cookie) as websocket:
            await websocket.send(bytes(1_100_000))
            assert await closed(websocket) == 1009
    assert 1_100_000 not in sizes


async def test_without_descriptors_a_port_is_busy(api: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    session_id, _ = await new_session(api)
    async with sending(OK + EMPTY) as port, entered(api, session_id, port) as http:
        with monkeypatch.context() as patched:
            patched.setattr(socket, "socketpair", none_left)
            answer = await http.get("/")
        assert (answer.status_code, "Too many connections" in answer.text) == (503, True)
        assert (await http.get("/")).status_code == 200


async def test_ports_take_no_more_than_their_share_of_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_limits, "descriptors_to_use", lambda: 16)
    async with world(ApiConfig(public_url="http://localhost", ports_host="localhost")) as api, asyncio.timeout(20):
        session_id, _ = await new_session(api)
        events = OK + b"Content-Type: text/event-stream\r\n\r\n:\n\n"
        async with (
            sending(events) as port,
            entered(api, session_id, port) as http,
            http.stream("GET", "/") as one,
            http.stream("GET", "/") as two,
            http.stream("GET", "/") as three,
            api.client() as owner,
            owner.stream("GET", f"/api/v1/sessions/{session_id}/events") as own,
        ):
            assert [each.status_code for each in (one, two, three, own)] == [200, 200, 503, 200]
