"""Clients and servers of the official `mcp` package, with the gateway between them, over each HTTP transport."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from mcp.client.client import Client
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Route, Scope, SealedCredential
from tests.integration.gateway.world import OTHER, World
from tests.support.http_servers import listening
from tests.support.mcp_servers import clock, door, serving_asgi

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

TRANSPORTS = ("sse", "sessions", "stateless")


@asynccontextmanager
async def served(world: World, transport: str, go_on: asyncio.Event) -> AsyncIterator[Path]:
    """Serve the clock by a transport, with a route to it; yield a sandbox's socket."""
    server = clock(go_on)
    app = (
        server.sse_app() if transport == "sse" else server.streamable_http_app(stateless_http=transport == "stateless")
    )
    async with serving_asgi(app) as port:
        kind, path = ("sse", "sse") if transport == "sse" else ("http", "mcp")
        route = Route(name="mcp/clock", url=f"http://127.0.0.1:{port}/{path}", private=True, transport=kind)
        await world.gateway.configure(GatewayConfig(digest=transport, routes=[route]))
        yield await world.register()


def connected(transport: str, port: int) -> AbstractAsyncContextManager[Client]:
    url = f"http://127.0.0.1:{port}/mcp/clock"
    made: Any = sse_client(url) if transport == "sse" else streamable_http_client(url)
    return Client(made, mode="legacy")


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_tool_is_called_and_progress_is_not_held_back(world: World, transport: str) -> None:
    go_on, seen = asyncio.Event(), asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.set()

    async with (
        asyncio.timeout(20),
        served(world, transport, go_on) as path,
        door(path) as port,
        connected(transport, port) as client,
    ):
        assert {tool.name for tool in (await client.list_tools()).tools} == {"add", "count"}
        added = await client.call_tool("add", {"a": 2, "b": 3})
        assert (added.content[0].type, getattr(added.content[0], "text", "")) == ("text", "5")
        counting = asyncio.create_task(client.call_tool("count", {}, progress_callback=on_progress), name="count")
        await seen.wait()  # before the response has ended
        assert not counting.done()
        go_on.set()
        assert getattr((await counting).content[0], "text", "") == "counted"
        records = await world.state.calls_after(0)
    tools = [record.tool for record in records if record.method == "tools/call"]
    assert tools[:1] == ["add"]


@pytest.mark.parametrize("transport", ["sse", "sessions"])
async def test_an_open_stream_is_cut_within_a_second_of_a_revocation(world: World, transport: str) -> None:
    async with asyncio.timeout(20), served(world, transport, asyncio.Event()) as path:
        client = world.client(path)
        headers = {"Accept": "text/event-stream"}
        if transport == "sessions":
            headers |= await opened(client)
        async with client.get("http://gateway/mcp/clock", headers=headers) as response:
            assert response.status == 200
            reading = asyncio.create_task(response.read(), name="stream")
            await asyncio.sleep(0.2)
            assert not reading.done()
            await world.gateway.revoke([path.parent.name])
            with pytest.raises(aiohttp.ClientError):
                await asyncio.wait_for(reading, 1)
        async with client.get("http://gateway/mcp/clock", headers=headers) as response:
            assert response.status == 403


async def opened(client: aiohttp.ClientSession) -> dict[str, str]:
    """Return the headers of a conversation."""
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    message = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
    accept = {"Accept": "application/json, text/event-stream"}
    async with client.post("http://gateway/mcp/clock", json=message, headers=accept) as response:
        assert response.status == 200
        return {"Mcp-Session-Id": response.headers["Mcp-Session-Id"], "MCP-Protocol-Version": "2025-06-18"}


async def test_only_an_address_that_an_open_stream_of_the_sandbox_announced_takes_messages(world: World) -> None:
    async with asyncio.timeout(20), served(world, "sse", asyncio.Event()) as path:
        other = await world.register(OTHER)
        client, message = world.client(path), {"jsonrpc": "2.0", "method": "notifications/initialized"}
        async with client.get("http://gateway/mcp/clock") as response:
            lines = [await response.content.readline() for _ in range(2)]
            assert lines[0] == b"event: endpoint\n"
            address = lines[1].decode().partition(": ")[2].strip()
            assert address.startswith("/mcp/clock/messages/?session_id=")
            async with world.post(path, address, json=message, data=None) as taken:
                assert taken.status == 202
            for socket, elsewhere in ((other, address), (path, address[:-1]), (path, "/mcp/clock/sse")):
                async with world.post(socket, elsewhere) as refused:
                    assert refused.status == 404, elsewhere
        async with asyncio.timeout(5):
            while (await state_of(world, path, address)) != 404:
                await asyncio.sleep(0.05)


async def test_an_address_of_a_server_that_the_route_has_left_takes_no_credential(world: World) -> None:
    seen: list[tuple[str, str]] = []

    async def stream(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"event: endpoint\ndata: /messages?id=1\n\n")
        await asyncio.sleep(30)
        return response

    def server(name: str) -> web.Application:
        async def post(request: web.Request) -> web.Response:
            seen.append((name, request.headers.get("Authorization", "")))
            return web.Response(status=202)

        app = web.Application()
        app.add_routes([web.get("/sse", stream), web.post("/messages", post)])
        return app

    whose = CredentialKey(scope=Scope.DEPLOYMENT, name="docs")

    async def lead_to(port: int, secret: str) -> None:
        sealed, key_id = world.gateway.vault.seal(whose, secret)
        credential = SealedCredential(**whose.model_dump(), sealed=sealed, key_id=key_id)
        url = f"http://127.0.0.1:{port}/sse"
        route = Route(name="mcp/clock", url=url, private=True, transport="sse", credential="docs")
        await world.gateway.configure(GatewayConfig(digest=secret, routes=[route], credentials=[credential]))

    async with asyncio.timeout(20), listening(server("old")) as old, listening(server("new")) as new:
        path = await world.register()
        client = world.client(path)
        await lead_to(old, "old-secret")
        async with client.get("http://gateway/mcp/clock") as response:
            await response.content.readuntil(b"\n\n")
            assert await state_of(world, path, "/mcp/clock/messages?id=1") == 202
            await lead_to(new, "new-secret")
            assert await state_of(world, path, "/mcp/clock/messages?id=1") == 404
            async with client.get("http://gateway/mcp/clock") as again:
                await again.content.readuntil(b"\n\n")
                assert await state_of(world, path, "/mcp/clock/messages?id=1") == 202
                response.close()
                await asyncio.sleep(0.3)  # the end of the old stream takes nothing from the new one
                assert await state_of(world, path, "/mcp/clock/messages?id=1") == 202
    assert seen == [("old", "Bearer old-secret"), ("new", "Bearer new-secret"), ("new", "Bearer new-secret")]


async def state_of(world: World, path: Path, address: str) -> int:
    async with world.post(path, address) as response:
        return int(response.status)


async def test_a_probe_knows_the_older_transport(world: World) -> None:
    async with served(world, "sse", asyncio.Event()):
        await world.gateway.probes.once()
        (state,) = world.gateway.health().servers
        assert (state.ok, state.problem) == (True, "")
