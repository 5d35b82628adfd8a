"""Registered routes: other servers under a name, with a credential that is added outside of the sandbox."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from multidict import CIMultiDict

from jelmore_protocol.gateway import (
    EGRESS_SOCKET,
    CallRecord,
    CredentialKey,
    GatewayConfig,
    Route,
    Scope,
    SealedCredential,
)
from jelmore_protocol.network import Network, NetworkMode
from tests.integration.gateway.world import OTHER, SESSION, World
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration


@dataclass
class Other:
    """A server that a route leads to: it keeps what it was sent, and does what the path says."""

    port: int = 0
    seen: list[CIMultiDict[str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(CIMultiDict(request.headers))
        self.paths.append(f"{request.method} {request.raw_path}")
        if request.path.endswith("/away"):
            return web.Response(status=302, headers={"Location": "http://elsewhere.invalid/mcp"})
        if request.path.endswith("/moved"):
            return web.Response(status=307, headers={"Location": "/base/there"})
        if request.method == "GET":
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Mcp-Session-Id": "m1"})
            await response.prepare(request)
            await response.write(b"data: 1\n\n")
            await self.go_on.wait()
            await response.write(b"data: 2\n\n")
            return response
        self.bodies.append(await request.read())
        return web.json_response({"jsonrpc": "2.0"}, headers={"Mcp-Session-Id": "m1", "Set-Cookie": "a=b"})


@asynccontextmanager
async def other() -> AsyncIterator[Other]:
    server = Other()
    app = web.Application(client_max_size=2**30)
    app.router.add_route("*", "/{path:.*}", server.serve)
    async with listening(app) as server.port:
        yield server


async def route(world: World, server: Other, name: str = "mcp/docs", **more: Any) -> None:
    """Register one route; its credential is `s3cret` where one is named."""
    more = {"private": True, **more}
    credentials = []
    if "credential" in more:
        whose = CredentialKey(scope=Scope.DEPLOYMENT, name=more["credential"])
        sealed, key_id = world.gateway.vault.seal(whose, "s3cret")
        credentials.append(SealedCredential(**whose.model_dump(), sealed=sealed, key_id=key_id))
    routes = [Route(name=name, url=f"http://127.0.0.1:{server.port}/base", **more)]
    await world.gateway.configure(GatewayConfig(digest="r", routes=routes, credentials=credentials))


def call(tool: str, **arguments: str) -> bytes:
    params = {"name": tool, "arguments": arguments}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode()


async def test_a_call_reaches_the_server_with_its_credential_and_is_recorded_without_arguments(world: World) -> None:
    socket, body = await world.register(), call("search", query="private words")
    async with other() as server:
        await route(world, server, credential="docs")
        sent = {"Authorization": "Bearer forged", "Mcp-Session-Id": "m1", "MCP-Protocol-Version": "2025-06-18"}
        async with world.post(socket, "/mcp/docs?x=1", data=body, headers=sent) as response:
            assert response.status == 200
            assert response.headers["Mcp-Session-Id"] == "m1"
            assert "Set-Cookie" not in response.headers
    assert server.paths == ["POST /base?x=1"]
    assert server.bodies == [body]
    assert server.seen[0]["Authorization"] == "Bearer s3cret"
    assert (server.seen[0]["Mcp-Session-Id"], server.seen[0]["MCP-Protocol-Version"]) == ("m1", "2025-06-18")
    (record,) = await world.state.calls_after(0)
    assert (record.route, record.method, record.tool, record.status) == ("mcp/docs", "tools/call", "search", 200)
    assert record.session_id == SESSION
    assert "private words" not in record.model_dump_json()


async def test_an_event_stream_passes_as_it_is_written(world: World) -> None:
    socket = await world.register()
    async with other() as server:
        await route(world, server)
        async with world.client(socket).get("http://gateway/mcp/docs") as response:
            assert await response.content.readline() == b"data: 1\n"
            server.go_on.set()
            assert b"data: 2" in await response.content.read()


async def test_a_redirect_never_leaves_the_server(world: World) -> None:
    socket = await world.register()
    async with other() as server:
        await route(world, server)
        async with world.post(socket, "/mcp/docs/away") as response:
            assert response.status == 502
        async with world.post(socket, "/mcp/docs/moved", allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (307, "/mcp/docs/there")


async def test_a_large_upload_streams_to_a_git_route(world: World) -> None:
    socket, size = await world.register(), 80 * 1024 * 1024

    async def pack() -> AsyncIterator[bytes]:
        for _ in range(80):
            yield b"x" * (1024 * 1024)

    async with other() as server:
        await route(world, server, "git/host.example")
        async with world.post(socket, "/git/host.example/a/b.git/git-receive-pack", data=pack()) as response:
            assert response.status == 200
    assert len(server.bodies[0]) == size
    assert await world.state.calls_after(0) == []


async def test_what_is_registered_for_others_or_not_at_all_is_a_404(world: World) -> None:
    socket, bobs = await world.register(user_id="ann"), await world.register(OTHER, user_id="bob")
    async with other() as server:
        await route(world, server, users=["bob"])
        async with world.post(socket, "/mcp/docs") as response:
            assert response.status == 404
        async with world.post(bobs, "/mcp/docs") as response:
            assert response.status == 200
        await world.gateway.configure(GatewayConfig(digest="none"))
        async with world.post(bobs, "/mcp/docs") as response:
            assert response.status == 404


async def test_a_missing_credential_and_a_private_address_are_refused_before_any_call(world: World) -> None:
    socket = await world.register()
    async with other() as server:
        await route(world, server, private=False)
        async with world.post(socket, "/mcp/docs") as response:
            assert response.status == 503
            assert "may not reach" in await response.text()
        routes = [
            Route(name="mcp/docs", url=f"http://127.0.0.1:{server.port}", private=True, credential="none"),
            Route(name="mcp/named", url=f"http://localhost:{server.port}"),
        ]
        await world.gateway.configure(GatewayConfig(digest="2", routes=routes))
        async with world.post(socket, "/mcp/docs") as response:
            assert response.status == 403
            assert "needs the credential 'none'" in await response.text()
        async with world.post(socket, "/mcp/named") as response:
            assert response.status == 503
    assert server.paths == []


async def test_routes_and_credentials_survive_a_restart_encrypted(world: World, folder: Path) -> None:
    async with other() as server:
        await route(world, server, credential="docs")
        socket = await world.register()
        await world.restart()
        async with world.post(socket, "/mcp/docs", data=call("a")) as response:
            assert response.status == 200
    assert server.seen[0]["Authorization"] == "Bearer s3cret"
    held = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(b"s3cret" in each for each in held)


async def until_recorded(world: World) -> CallRecord:
    async with asyncio.timeout(10):
        while not (records := await world.state.calls_after(0)):
            await asyncio.sleep(0.02)
    return records[0]


async def test_other_hosts_go_through_the_egress_socket_by_the_sandboxes_policy(world: World) -> None:
    socket = await world.register()

    async def connect(target: str) -> bytes:
        reader, writer = await asyncio.open_unix_connection(str(socket.parent / EGRESS_SOCKET))
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        try:
            return await asyncio.wait_for(reader.read(4096), 10)
        finally:
            writer.close()

    assert b"no network" in await connect("packages.example.org:443")
    record = await until_recorded(world)
    assert (record.route, record.method, record.tool) == ("egress", "packages.example.org:443", "no_network")
    allowed = Network(mode=NetworkMode.CUSTOM, allow=("localhost:443",))
    await world.register(network=allowed)
    answer = await connect("localhost:443")  # allowed by name; where it can be looked up, its address is refused
    assert b"leads to" in answer or b"cannot look up" in answer
    await world.gateway.revoke([socket.parent.name])
    assert b"withdrawn" in await connect("localhost:443")


async def test_a_route_to_nowhere_is_reported_and_not_repeated(world: World) -> None:
    socket = await world.register()
    async with other() as server:
        await route(world, server)
    async with world.post(socket, "/mcp/docs", data=call("a")) as response:
        assert response.status == 503
        assert "mcp/docs does not answer" in await response.text()
    await world.gateway.withdraw(socket.parent.name)
    with pytest.raises(aiohttp.ClientError):
        await world.post(socket, "/mcp/docs")
