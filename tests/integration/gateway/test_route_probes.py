"""The gateway asks the registered MCP servers whether they answer."""

from typing import Any

import pytest
from aiohttp import web

from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Route, Scope, SealedCredential
from tests.integration.gateway.world import World

pytestmark = pytest.mark.integration


class McpServer:
    """Answers `initialize` with a conversation, for the right credential."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.closed: list[str] = []

    async def serve(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("Authorization") != "Bearer s3cret":
            return web.Response(status=401)
        if request.method == "DELETE":
            self.closed.append(request.headers["Mcp-Session-Id"])
            return web.Response(status=204)
        message: dict[str, Any] = await request.json()
        self.opened.append(message["method"])
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Mcp-Session-Id": "m1"})
        await response.prepare(request)
        await response.write(b": an event stream that is left open\n\n")
        return response


async def test_servers_that_answer_and_those_that_do_not(world: World) -> None:
    server = McpServer()
    app = web.Application()
    app.router.add_route("*", "/mcp", server.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    whose = CredentialKey(scope=Scope.DEPLOYMENT, name="docs")
    sealed, key_id = world.gateway.vault.seal(whose, "s3cret")
    routes = [
        Route(name="mcp/docs", url=f"{url}/mcp", credential="docs", private=True),
        Route(name="mcp/bare", url=f"{url}/mcp", private=True),
        Route(name="mcp/lost", url=f"{url}/nowhere", credential="docs", private=True),
        Route(name="mcp/away", url="http://127.0.0.1:1", private=True),
        Route(name="mcp/inside", url=f"{url}/mcp", credential="docs"),
        Route(name="git/host", url=f"{url}/git", private=True),
    ]
    credential = SealedCredential(**whose.model_dump(), sealed=sealed, key_id=key_id)
    await world.gateway.configure(GatewayConfig(digest="r", routes=routes, credentials=[credential]))
    try:
        await world.gateway.probes.once()
        found = {state.name: state.problem for state in world.gateway.health().servers}
        assert (found.pop("mcp/docs"), server.opened, server.closed) == ("", ["initialize"], ["m1"])
        assert "401" in found.pop("mcp/bare")
        assert "404" in found.pop("mcp/lost")
        assert found.pop("mcp/away")
        assert "may not reach" in found.pop("mcp/inside")
        assert not found
        await world.gateway.configure(GatewayConfig(digest="s"))
        assert world.gateway.health().servers == []
    finally:
        await runner.cleanup()
