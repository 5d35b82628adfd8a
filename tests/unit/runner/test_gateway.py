"""The forwarder against a real loopback gateway that records what reached it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from jelmore_runner.gateway import Gateway
from jelmore_runner.settings import Address

DEADLINE_S = 10


class Upstream:
    """Records raw requests; answers a stream whose second half waits for `go_on`."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []
        self.go_on = asyncio.Event()
        self.hung_up = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.heads.append(head)
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        self.bodies.append(await reader.readexactly(length))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"5\r\nfirst\r\n")
        waits = [
            asyncio.create_task(self.go_on.wait(), name="go on"),
            asyncio.create_task(reader.read(1), name="hang up"),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if waits[1].done():
            self.hung_up.set()
        for wait in waits:
            wait.cancel()
        writer.write(b"6\r\nsecond\r\n0\r\n\r\n")
        writer.close()


@asynccontextmanager
async def forwarding() -> AsyncIterator[tuple[Upstream, httpx.AsyncClient, Gateway]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.1", 0)
    gateway = Gateway(Address(host="127.0.0.1", port=server.sockets[0].getsockname()[1]), "the-token")
    await gateway.start()
    task = asyncio.create_task(gateway.run(), name="gateway")
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{gateway.port}", timeout=DEADLINE_S) as client:
        yield upstream, client, gateway
    task.cancel()
    await asyncio.wait({task})
    server.close()
    await server.wait_closed()


async def test_the_agents_credentials_are_replaced_and_the_rest_passes() -> None:
    async with forwarding() as (upstream, client, _):
        upstream.go_on.set()
        headers = {
            "Authorization": "Bearer forged",
            "X-Api-Key": "forged",
            "X-Jelmore-Session": "forged",
            "anthropic-beta": "a,b",
        }
        answer = await client.post("/v1/messages?beta=true", headers=headers, content=b"x" * 300_000)
        assert answer.text == "firstsecond"
        head = upstream.heads[0].lower()
        assert head.startswith(b"post /v1/messages?beta=true http/1.1\r\n")
        assert b"authorization: bearer the-token\r\n" in head
        assert b"x-jelmore-session" not in head
        assert b"anthropic-beta: a,b\r\n" in head
        assert b"forged" not in head
        assert upstream.bodies[0] == b"x" * 300_000


async def test_a_call_before_the_session_is_there_goes_nowhere() -> None:
    async with forwarding() as (upstream, client, gateway):
        gateway.closed = True
        refused = await client.post("/v1/messages/count_tokens", json={})
        assert (refused.status_code, refused.json()["error"]["message"]) == (404, "there is no session yet")
        gateway.closed = False
        upstream.go_on.set()
        assert (await client.post("/v1/messages", json={})).status_code == 200
    assert [head.split()[1] for head in upstream.heads] == [b"/v1/messages"]


async def test_the_trace_of_the_turn_replaces_the_agents_own() -> None:
    async with forwarding() as (upstream, client, gateway):
        upstream.go_on.set()
        forged = {"Traceparent": "00-forged", "Tracestate": "forged", "Baggage": "forged"}
        await client.post("/v1/messages", headers=forged)
        gateway.trace = lambda: "00-of-the-turn"
        await client.post("/v1/messages", headers=forged)
        first, second = (head.lower() for head in upstream.heads)
        assert b"trace" not in first
        assert b"\r\ntraceparent: 00-of-the-turn\r\n" in second
        assert b"forged" not in first + second


async def test_an_answer_streams_before_it_is_complete() -> None:
    async with forwarding() as (upstream, client, _), client.stream("GET", "/v1/stream") as answer:
        parts = answer.aiter_raw()
        assert await anext(parts) == b"first"
        upstream.go_on.set()
        assert b"".join([part async for part in parts]) == b"second"


async def test_a_caller_who_hangs_up_is_passed_on() -> None:
    async with forwarding() as (upstream, client, _):
        async with client.stream("GET", "/v1/stream") as answer:
            assert await anext(answer.aiter_raw()) == b"first"
        async with asyncio.timeout(DEADLINE_S):
            await upstream.hung_up.wait()


async def test_a_second_request_on_the_connection_is_never_forwarded() -> None:
    async with forwarding() as (upstream, _, gateway):
        upstream.go_on.set()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        request = b"GET /one HTTP/1.1\r\nHost: x\r\n\r\n"
        writer.write(request + request.replace(b"one", b"two"))
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        assert answer.count(b"HTTP/1.1 200") == 1
        assert len(upstream.heads) == 1
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize(
    "request_",
    [
        b"GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
    ],
    ids=["proxy request", "no HTTP", "long head"],
)
async def test_what_is_not_a_call_of_the_gateway_is_refused(request_: bytes) -> None:
    async with forwarding() as (upstream, _, gateway):
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request_)
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await reader.read()
        except ConnectionResetError:  # closed with much of the long head unread
            answer = b"HTTP/1.1 4"
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
        assert answer.split(b" ")[1].startswith(b"4")
        assert upstream.heads == []


async def test_an_old_client_that_names_no_host_is_answered() -> None:
    async with forwarding() as (upstream, _, gateway):
        upstream.go_on.set()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(b"POST /v1/messages HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}")
        async with asyncio.timeout(DEADLINE_S):
            answer = await reader.read()
        writer.close()
    assert b" 200 " in answer.splitlines()[0]
    assert answer.endswith(b"firstsecond")
    assert b"\r\nHost: gateway\r\n" in upstream.heads[0]


async def test_a_gateway_that_is_away_is_a_503_in_the_apis_own_shape() -> None:
    gateway = Gateway(Address(path="/nowhere/gateway.sock"), "t")
    await gateway.start()
    task = asyncio.create_task(gateway.run(), name="gateway")
    async with httpx.AsyncClient(timeout=DEADLINE_S) as client:
        answer = await client.post(f"http://127.0.0.1:{gateway.port}/v1/messages", content=b"{}")
    assert answer.status_code == 503
    assert json.loads(answer.text)["error"]["type"] == "api_error"
    task.cancel()
    await asyncio.wait({task})
