"""OAuth credentials while their key, their values or their route change: no token is lost and none goes astray."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from jelmore_gateway.oauth.rotated import RotatedTokens
from jelmore_gateway.vault import parse_keys
from jelmore_protocol.gateway import GatewayConfig, Route, Scope
from tests.integration.gateway.test_oauth import Authority, routed, sealed, status, use_times
from tests.integration.gateway.world import World
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration

ROW = json.dumps(["deployment", "", "docs"])
NEW_KEY = "A" * 43 + "="


@pytest.fixture
async def authority(world: World) -> AsyncIterator[Authority]:
    authority = Authority()
    app = web.Application()
    app.router.add_post("/token", authority.token)
    app.router.add_route("*", "/{path:.*}", authority.serve)
    use_times(world)
    async with listening(app) as authority.port:
        yield authority


def route(authority: Authority) -> Route:
    return Route(name="mcp/docs", url=f"http://127.0.0.1:{authority.port}/", private=True, credential="docs")


async def configure(world: World, authority: Authority, digest: str, **more: str) -> None:
    credential = sealed(world, authority, **more)
    await world.gateway.configure(GatewayConfig(digest=digest, routes=[route(authority)], credentials=[credential]))


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_token_that_is_not_used_meanwhile_survives_a_change_of_the_key(
    world: World, authority: Authority, folder: Path, restarts: bool
) -> None:
    """The steps of the documentation: a new key in front, each credential encrypted again, the old key away."""
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    path = folder / "state" / "secrets.key"
    path.write_text(NEW_KEY + "\n" + path.read_text())
    if restarts:
        await world.restart()
        use_times(world)
    await configure(world, authority, "sealed again")
    path.write_text(NEW_KEY)
    await world.restart()
    use_times(world)
    assert await status(world, socket) == 200
    assert [form["refresh_token"] for form in authority.forms] == ["r0", "r1"]


async def test_a_token_that_no_key_opens_is_left_alone_and_stops_no_configuration(
    world: World, authority: Authority, folder: Path
) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    before = await world.state.refresh_token(ROW)
    (folder / "state" / "secrets.key").write_text(NEW_KEY)
    await configure(world, authority, "sealed again")
    assert world.gateway.config.digest == "sealed again"
    assert await world.state.refresh_token(ROW) == before
    await world.restart()
    use_times(world)
    assert await status(world, socket) == 503, "the first token would be taken for stolen"
    assert len(authority.forms) == 1


async def test_a_credential_that_is_set_again_after_its_key_was_lost_works(
    world: World, authority: Authority, folder: Path
) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    (folder / "state" / "secrets.key").write_text(NEW_KEY)
    authority.refresh = "fresh"
    await configure(world, authority, "set again", refresh_token="fresh")
    await world.restart()
    use_times(world)
    assert await status(world, socket) == 200
    assert [form["refresh_token"] for form in authority.forms] == ["r0", "fresh"]


async def test_encrypting_again_never_stores_an_older_token_over_a_newer_one(world: World) -> None:
    """Another call may store the next token between the reading and the writing."""
    vault, key = world.gateway.vault, (Scope.DEPLOYMENT, "", "docs")
    rotated = RotatedTokens(vault, world.state)
    await rotated.keep(key, "f", "older")
    keys = [parse_keys(NEW_KEY)[0], *vault._read_keys()]
    vault._read_keys = lambda: keys
    read = world.state.refresh_token

    async def overtaken(name: str) -> tuple[str, str] | None:
        stored = await read(name)
        await rotated.keep(key, "f", "newer")
        return stored

    world.state.refresh_token = overtaken  # type: ignore[method-assign]
    await rotated.find(key, "f")
    world.state.refresh_token = read  # type: ignore[method-assign]
    assert await rotated.find(key, "f") == "newer"


async def test_a_late_401_of_an_old_call_does_not_touch_a_credential_that_was_set_again(
    world: World, authority: Authority
) -> None:
    socket, go_on = await routed(world, authority), asyncio.Event()
    waiting: list[str] = []

    async def late(request: web.Request) -> web.Response:
        waiting.append(request.headers["Authorization"])
        await go_on.wait()
        return web.Response(status=401)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", late)
    async with asyncio.timeout(20), listening(app) as port:
        slow = Route(name="mcp/slow", url=f"http://127.0.0.1:{port}/", private=True, credential="docs")
        old = sealed(world, authority)
        both = [route(authority), slow]
        await world.gateway.configure(GatewayConfig(digest="old", routes=both, credentials=[old]))
        calling = asyncio.create_task(status(world, socket, "/mcp/slow"), name="old call")
        while not waiting:
            await asyncio.sleep(0.01)
        authority.refresh = "fresh"
        new = sealed(world, authority, refresh_token="fresh")
        await world.gateway.configure(GatewayConfig(digest="new", routes=both, credentials=[new]))
        assert await status(world, socket) == 200
        before = await world.state.refresh_token(ROW)
        forms = len(authority.forms)
        go_on.set()
        assert await calling == 401
        assert len(authority.forms) == forms, "the old refresh token is not used any more"
        assert await world.state.refresh_token(ROW) == before
        assert await status(world, socket) == 200
        assert len(authority.forms) == forms
