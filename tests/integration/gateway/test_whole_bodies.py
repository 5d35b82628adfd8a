"""Bodies of MCP messages are held whole; what one sandbox and all of them hold is bounded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from jelmore_protocol.gateway import GatewayConfig, Route
from tests.integration.gateway.world import OTHER, World
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration

SIZE = 1024**2


async def send(world: World, path: Path, go_on: asyncio.Event) -> int:
    """Send a message whose last byte comes late; return the status."""

    async def body() -> AsyncIterator[bytes]:
        yield b" " * (SIZE - 1)
        await go_on.wait()
        yield b" "

    try:
        async with world.post(path, "/mcp/docs", data=body(), headers={"Content-Length": str(SIZE)}) as response:
            await response.read()
            return int(response.status)
    except ConnectionError:
        return 503  # refused while it was sent


async def test_bodies_that_arrive_slowly_are_bounded(world: World) -> None:
    app = web.Application(client_max_size=2 * SIZE)
    app.router.add_post("/{path:.*}", take)
    paths = [await world.register(), await world.register(OTHER)]
    async with asyncio.timeout(15), listening(app) as port:
        route = Route(name="mcp/docs", url=f"http://127.0.0.1:{port}/", private=True)
        await world.gateway.configure(GatewayConfig(digest="r", routes=[route]))
        go_on = asyncio.Event()
        calls = [asyncio.create_task(send(world, paths[0], go_on), name=f"call {number}") for number in range(20)]
        while sum(call.done() for call in calls) < 3 and not go_on.is_set():
            await asyncio.sleep(0.05)
        assert await send_now(world, paths[1]) == 200, "each sandbox has a part of its own"
        go_on.set()
        statuses = await asyncio.gather(*calls)
        assert {200, 503} == set(statuses)
        assert 12 <= statuses.count(200) <= 17
        assert await send_now(world, paths[0]) == 200, "what is given back is free again"


async def take(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({})


async def send_now(world: World, path: Path) -> int:
    at_once = asyncio.Event()
    at_once.set()
    return await send(world, path, at_once)
