"""The WebSocket of a session behaves alike at its runner and at the manager."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from jelmore_protocol.tokens import Audience, Claims, Scope, sign
from jelmore_protocol.websocket_server import ServerLimits
from tests.integration.api.world import closed, frame, world
from tests.integration.runner.conftest import demo_model, runner  # noqa: F401 - fixtures
from tests.integration.runner.harness import Runner

pytestmark = pytest.mark.integration

BOTH = frozenset({Scope.READ, Scope.WRITE})
READ = frozenset({Scope.READ})


@dataclass
class Served:
    """A session whose WebSocket is served at `socket_path`."""

    session_id: str
    socket_path: str
    uri: str
    private_key: str

    def token(self, scopes: frozenset[Scope]) -> str:
        claims = Claims(self.session_id, Audience.SESSION, scopes, "key_ada", int(time.time()) + 600)
        return sign(claims, self.private_key)

    def open(
        self, scopes: frozenset[Scope] | None = BOTH, query: str = "after=0"
    ) -> AbstractAsyncContextManager[ClientConnection]:
        headers = {} if scopes is None else {"Authorization": f"Bearer {self.token(scopes)}"}
        uri = f"{self.uri}?{query}" if query else self.uri
        return unix_connect(self.socket_path, uri=uri, additional_headers=headers, compression=None, max_size=None)


@pytest.fixture(params=["runner", "manager"])
async def served(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    if request.param == "runner":
        runner: Runner = request.getfixturevalue("runner")
        await runner.begin()
        yield Served(runner.session_id, str(runner.folder / "p.sock"), "ws://session/ws", runner.keys.private)
        return
    async with world() as api:
        async with api.client() as http:
            session_id = (await http.post("/api/v1/sessions")).json()["id"]
        await api.stored(session_id, 1)
        path = f"ws://test/api/v1/sessions/{session_id}/stream"
        yield Served(session_id, api.socket_path, path, api.access.signing._private_pem)


async def until(connection: ClientConnection, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while not condition(found := await frame(connection)):
        pass
    return found


async def test_a_reader_has_small_frames_and_a_writer_those_of_a_whole_input(served: Served) -> None:
    async with served.open(READ) as reader:
        with suppress(ConnectionClosed):
            await reader.send("x" * 20_000)
        assert await closed(reader) == 1009
    async with served.open() as writer:
        await writer.send(json.dumps({"type": "input", "id": "one", "input": "\x01" * 1024 * 1024}))
        answer = await until(writer, lambda each: each["type"] in {"ack", "error"})
        assert answer["type"] == "ack"
        with suppress(ConnectionClosed):
            await writer.send("x" * 7 * 1024 * 1024)
        assert await closed(writer) == 1009


async def test_a_client_that_is_still_sending_reads_why_it_was_disconnected(served: Served) -> None:
    reader, writer = await asyncio.open_unix_connection(served.socket_path)
    async with asyncio.timeout(30):
        path = served.uri.removeprefix("ws://").partition("/")[2]
        request = [
            f"GET /{path} HTTP/1.1",
            "Host: session",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ]
        writer.write("\r\n".join([*request, "", ""]).encode())
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\xfe\x4e\x20")  # the header of a text frame of 20,000 bytes, which is too large
        assert await reader.readexactly(1) == b"\x88"
        for _ in range(5):
            writer.write(b"x" * 200_000)
            await writer.drain()
        rest = await reader.read()
        assert rest[1:3] == (1009).to_bytes(2)  # after the length of the close frame
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("query", ["after=-1", "after=1.5", "after=x", "after=", "after=1&after=2", "afer=1"])
async def test_a_bad_parameter_is_refused_by_name(served: Served, query: str) -> None:
    async with served.open(query=query) as connection:
        refused = await frame(connection)
        assert (refused["type"], refused["code"]) == ("error", "bad_frame")
        assert refused["message"].startswith(query.partition("=")[0] + ": ")
        assert await closed(connection) == 1008


async def test_peers_without_a_token_are_bounded_and_keep_out_nobody_with_one(served: Served) -> None:
    strangers = [await served.open(None).__aenter__() for _ in range(ServerLimits().max_unauthenticated)]
    try:
        async with served.open(None) as late:
            assert await closed(late) == 1013
        async with served.open() as known:
            assert (await frame(known))["type"] == "hello"
    finally:
        for stranger in strangers:
            await stranger.close()


async def test_an_input_is_recorded_under_the_key_of_the_token(served: Served) -> None:
    async with served.open() as connection:
        await connection.send('{"type": "input", "id": "one", "input": "hello", "added_later": 1}')
        event = await until(connection, lambda each: each.get("kind") == "input")
        assert event["data"]["by"] == "key_ada"


async def test_frames_that_cannot_be_obeyed_are_answered_alike(served: Served) -> None:
    async with served.open(READ) as reader:
        await reader.send('{"type": "interrupt", "id": "i"}')
        assert (await until(reader, lambda each: each["type"] == "error"))["code"] == "forbidden"
    async with served.open() as writer:
        for text, code in [
            ('{"type": "input", "input": " \\n", "id": "e"}', "input_empty"),
            ('{"type": "permission", "request_id": "none", "decision": "allow"}', "unknown_request"),
            ('{"type": "dance"}', "bad_frame"),
            ("[" * 5000, "bad_frame"),
            ('{"type": "input", "input": "\\ud800"}', "bad_frame"),
        ]:
            await writer.send(text)
            assert (await until(writer, lambda each: each["type"] == "error"))["code"] == code
