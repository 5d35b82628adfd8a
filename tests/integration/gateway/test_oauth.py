"""Routes whose server wants OAuth: the gateway gets access tokens, renews them, and no sandbox sees one."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from jelmore_gateway.oauth import OAuthTimes
from jelmore_gateway.route_credentials import RouteCredentials
from jelmore_protocol.gateway import CREDENTIAL_ROUTE, CredentialKey, GatewayConfig, Route, Scope, SealedCredential
from jelmore_protocol.oauth import OAuthClient
from tests.integration.gateway.world import World
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration

TIMES = OAuthTimes(deadline_s=1, first_pause_s=0.2, longest_pause_s=0.4, young_s=0.0)


@dataclass
class Authority:
    """An authorization server that gives each refresh token once, and the server that takes its access tokens."""

    port: int = 0
    lifetime_s: float | None = 3600
    rotates: bool = True
    refresh: str = "r0"
    valid: str = ""  # the access token that the server takes
    forms: list[dict[str, str]] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    fails: int = 0  # the status of the token URL, 0 when it answers
    slow: asyncio.Event | None = None
    refuses_all: bool = False

    async def token(self, request: web.Request) -> web.Response:
        form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
        self.forms.append(form)
        if self.slow is not None:
            await self.slow.wait()
        if self.fails:
            return web.json_response({"error": "invalid_grant", "error_description": form}, status=self.fails)
        if form["grant_type"] == "refresh_token" and form["refresh_token"] != self.refresh:
            return web.json_response({"error": "invalid_grant"}, status=400)
        self.valid = f"access-{len(self.forms)}"
        given: dict[str, Any] = {"access_token": self.valid, "token_type": "bearer"}
        if self.lifetime_s is not None:
            given["expires_in"] = self.lifetime_s
        if self.rotates and form["grant_type"] == "refresh_token":
            given["refresh_token"] = self.refresh = f"r{len(self.forms)}"
        return web.json_response(given)

    async def serve(self, request: web.Request) -> web.Response:
        token = request.headers.get("Authorization", "")
        self.calls.append(token)
        self.bodies.append(await request.read())
        if self.refuses_all or token != f"Bearer {self.valid}":
            return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"})
        return web.json_response({"jsonrpc": "2.0"})


@pytest.fixture
async def authority(world: World) -> AsyncIterator[Authority]:
    authority = Authority()
    app = web.Application(client_max_size=2**30)
    app.router.add_post("/token", authority.token)
    app.router.add_route("*", "/{path:.*}", authority.serve)
    use_times(world)
    async with listening(app) as authority.port:
        yield authority


def use_times(world: World) -> None:
    """Let the gateway wait as shortly as these tests do."""
    gateway = world.gateway
    gateway.credentials = RouteCredentials(gateway.vault, world.state, gateway._servers, TIMES)
    assert gateway._routes is not None
    gateway._routes._credentials = gateway.repositories._credentials = gateway.credentials


def sealed(world: World, authority: Authority, **more: Any) -> SealedCredential:
    whose = CredentialKey(scope=Scope.DEPLOYMENT, name="docs")
    client = OAuthClient(
        **{
            "token_url": f"http://127.0.0.1:{authority.port}/token",
            "client_id": "me",
            "client_secret": "s3cret",
            "refresh_token": "r0",
            "private": True,
            **more,
        }
    )
    text, key_id = world.gateway.vault.seal(whose, client.model_dump_json(), "oauth")
    return SealedCredential(**whose.model_dump(), kind="oauth", sealed=text, key_id=key_id)


async def routed(world: World, authority: Authority, kind: str = "mcp", **more: Any) -> Path:
    """Register a sandbox, and a route with an OAuth credential; return the sandbox's socket."""
    route = Route(name=f"{kind}/docs", url=f"http://127.0.0.1:{authority.port}/", private=True, credential="docs")
    credential = sealed(world, authority, **more)
    await world.gateway.configure(GatewayConfig(digest="r", routes=[route], credentials=[credential]))
    return await world.register()


async def status(world: World, socket: Path, path: str = "/mcp/docs", **more: Any) -> int:
    async with world.post(socket, path, **more) as response:
        await response.read()
        return int(response.status)


async def test_client_credentials_make_one_request_for_many_calls(world: World, authority: Authority) -> None:
    socket = await routed(world, authority, refresh_token="", scopes=["read"])
    authority.slow = asyncio.Event()
    calls = [asyncio.create_task(status(world, socket), name=f"call {n}") for n in range(20)]
    async with asyncio.timeout(5):
        while not authority.forms:
            await asyncio.sleep(0.01)
    calls[0].cancel()  # one that leaves does not end the request that the others wait for
    authority.slow.set()
    assert await asyncio.gather(*calls[1:]) == [200] * 19
    assert authority.forms == [{"grant_type": "client_credentials", "scope": "read"}]
    (state,) = world.gateway.health().credentials
    assert (state.name, state.ok, state.expires_at is not None) == ("docs", True, True)


async def test_a_token_is_renewed_before_it_ends_while_it_is_still_used(world: World, authority: Authority) -> None:
    authority.lifetime_s = 1.0  # renewed from 0.8 s on, ended at 0.95 s
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    await asyncio.sleep(0.82)
    authority.slow = asyncio.Event()
    assert await status(world, socket) == 200, "the call does not wait for the new token"
    async with asyncio.timeout(5):
        while len(authority.forms) < 2:
            await asyncio.sleep(0.01)
    authority.lifetime_s = 3600
    authority.slow.set()
    async with asyncio.timeout(5):
        while authority.valid != "access-2":
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    assert await status(world, socket) == 200
    assert authority.calls == ["Bearer access-1", "Bearer access-1", "Bearer access-2"]
    assert [form["refresh_token"] for form in authority.forms] == ["r0", "r1"]


async def test_a_401_is_answered_once_with_another_token(world: World, authority: Authority) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket, data=b'{"a": 1}') == 200
    authority.valid = "revoked"
    assert await asyncio.gather(*(status(world, socket, data=b'{"a": 2}') for _ in range(8))) == [200] * 8
    assert len(authority.forms) == 2, "one renewal for all of them"
    assert set(authority.bodies[1:]) == {b'{"a": 2}'}
    authority.refuses_all = True
    before = len(authority.calls)
    assert await status(world, socket) == 401
    assert len(authority.calls) == before + 2, "never more than once"


async def test_a_body_that_passed_as_a_stream_is_not_sent_again(world: World, authority: Authority) -> None:
    async def pack() -> AsyncIterator[bytes]:
        yield b"x" * 100_000

    socket = await routed(world, authority, "git")
    assert await status(world, socket, "/git/docs/a") == 200
    authority.valid = "revoked"
    before = len(authority.calls)
    assert await status(world, socket, "/git/docs/a", data=pack()) == 401
    assert len(authority.calls) == before + 1
    assert await status(world, socket, "/git/docs/a", data=pack()) == 200, "the next call has the new token"


async def test_another_status_is_never_answered_with_a_second_request(world: World, authority: Authority) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    async with listening(_failing()) as port:
        route = Route(name="mcp/docs", url=f"http://127.0.0.1:{port}/", private=True, credential="docs")
        config = GatewayConfig(digest="f", routes=[route], credentials=[sealed(world, authority)])
        await world.gateway.configure(config)
        assert await status(world, socket) == 403
    assert len(authority.forms) == 1


def _failing() -> web.Application:
    async def fail(_: web.Request) -> web.Response:
        return web.Response(status=403)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fail)
    return app


async def test_a_new_refresh_token_survives_a_restart_encrypted(
    world: World, authority: Authority, folder: Path
) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    await world.restart()
    use_times(world)
    assert await status(world, socket) == 200
    assert [form["refresh_token"] for form in authority.forms] == ["r0", "r1"]
    held = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    assert not any(b"s3cret" in each or b'"r1"' in each or b'"r2"' in each for each in held)


async def test_a_new_refresh_token_follows_the_key_and_ends_with_its_credential(
    world: World, authority: Authority, folder: Path
) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    name = json.dumps(["deployment", "", "docs"])
    before = await world.state.refresh_token(name)
    path = folder / "state" / "secrets.key"
    path.write_text("A" * 43 + "=\n" + path.read_text())
    await world.restart()
    use_times(world)
    assert await status(world, socket) == 200
    after = await world.state.refresh_token(name)
    assert before is not None
    assert after is not None
    assert (after[1], before[1] == after[1]) == (world.gateway.vault.key_id, False)
    await world.gateway.configure(GatewayConfig(digest="none"))
    assert await world.state.refresh_token(name) is None
    assert world.gateway.health().credentials == []


async def test_a_credential_that_is_set_again_begins_with_its_own_token(world: World, authority: Authority) -> None:
    socket = await routed(world, authority)
    assert await status(world, socket) == 200
    authority.refresh = "fresh"
    await routed(world, authority, refresh_token="fresh")
    assert await status(world, socket) == 200
    assert [form["refresh_token"] for form in authority.forms] == ["r0", "fresh"]


async def test_a_failure_is_shown_and_recorded_without_a_secret_and_tried_again_later(
    world: World, authority: Authority
) -> None:
    authority.fails = 400
    socket = await routed(world, authority)
    async with world.post(socket, "/mcp/docs") as response:
        assert response.status == 503
        text = await response.text()
        assert "invalid_grant" in text
    assert await asyncio.gather(*(status(world, socket) for _ in range(5))) == [503] * 5
    assert len(authority.forms) == 1, "a pause follows a failure"
    assert authority.calls == []
    (state,) = world.gateway.health().credentials
    assert (state.ok, "invalid_grant" in state.problem) == (False, True)
    (record,) = await world.state.calls_after(0)
    assert (record.route, record.method, record.tool) == (CREDENTIAL_ROUTE, "mcp/docs", "invalid_grant")
    assert not any(secret in text + state.problem + record.model_dump_json() for secret in ("s3cret", "r0"))
    authority.fails = 0
    await asyncio.sleep(0.25)
    assert await status(world, socket) == 200
    assert world.gateway.health().credentials[0].ok


async def test_a_token_url_that_hangs_is_given_up_after_its_deadline(world: World, authority: Authority) -> None:
    authority.slow = asyncio.Event()
    socket = await routed(world, authority)
    async with asyncio.timeout(5):
        assert await status(world, socket) == 503
    assert "in time" in world.gateway.health().credentials[0].problem
    authority.slow.set()


async def test_a_token_url_inside_is_refused_without_leave(world: World, authority: Authority) -> None:
    for url in (f"https://127.0.0.1:{authority.port}/token", f"https://localhost:{authority.port}/token"):
        socket = await routed(world, authority, token_url=url, private=False)
        assert await status(world, socket) == 503
        assert "may not be reached" in world.gateway.health().credentials[0].problem
    assert authority.forms == []


async def test_a_probe_asks_with_a_token_and_shows_why_there_is_none(world: World, authority: Authority) -> None:
    await routed(world, authority)
    await world.gateway.probes.once()
    assert world.gateway.health().servers[0].ok
    authority.fails = 500
    await routed(world, authority, client_secret="other")
    await world.gateway.probes.once()
    assert "there is no access token" in world.gateway.health().servers[0].problem
    assert await world.state.calls_after(0) == []
