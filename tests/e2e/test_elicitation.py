"""A person answers what an MCP server asks: a real server behind a route, the real Claude Code in a container.

Servers of the protocol's version 2026-07-28 ask by their result, and the client calls again with the answer. Earlier
ones ask by a request of their own on the open response.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from mcp.server.elicitation import ElicitationResult
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.resolve import Elicit, Resolve
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import BaseModel
from starlette.responses import JSONResponse

from tests.support.mcp_servers import serving_asgi
from tests.support.stack_client import Api, Frame, tool_answers

ROUTE = "/api/v1/admin/routes/mcp/shop"


class Shirt(BaseModel):
    """The form that the tool asks for."""

    size: str


def outcome(given: ElicitationResult[Shirt]) -> str:
    return f"ordered {given.data.size}" if given.action == "accept" else f"not ordered: {given.action}"


def modern() -> Any:
    """Return a server of the newest version."""
    server = MCPServer("shop")

    async def size() -> Elicit[Shirt]:
        return Elicit("Which size?", Shirt)

    @server.tool()
    async def order(given: Annotated[ElicitationResult[Shirt], Resolve(size)]) -> str:
        """Order a shirt."""
        return outcome(given)

    return server.streamable_http_app()


def earlier() -> Any:
    """Return a server that knows only the versions with a handshake."""
    server = MCPServer("shop")

    @server.tool()
    async def order(context: Context[Any]) -> str:
        """Order a shirt."""
        return outcome(await context.elicit("Which size?", Shirt))

    app = server.streamable_http_app()

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        version = dict(scope.get("headers", ())).get(b"mcp-protocol-version", b"").decode()
        if version and version not in HANDSHAKE_PROTOCOL_VERSIONS:
            error = {"code": -32000, "message": f"Bad Request: Unsupported protocol version: {version}"}
            refusal = JSONResponse({"jsonrpc": "2.0", "id": "server-error", "error": error}, 400)
            await refusal(scope, receive, send)
        else:
            await app(scope, receive, send)

    return serve


@asynccontextmanager
async def shop(api: Api, app: Any) -> AsyncIterator[None]:
    """Serve the shop behind a route of the gateway."""
    async with serving_asgi(app) as port:
        route = await api.http.put(ROUTE, json={"url": f"http://127.0.0.1:{port}/mcp", "private": True})
        assert route.status_code == 200, route.text
        try:
            yield
        finally:
            assert (await api.http.delete(ROUTE)).status_code == 204


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("server", [modern, earlier])
async def test_a_person_answers_what_an_mcp_server_asks(quick_api: Api, server: Any) -> None:
    api = quick_api
    async with shop(api, server()):
        created = await api.create(allowed_tools=["mcp__shop__order"])
        accepted = {"decision": "allow", "updated_input": {"size": "XL"}}
        assert "ordered XL" in await answered(api, created["id"], accepted)
        assert "not ordered: decline" in await answered(api, created["id"], {"decision": "deny"})
        await api.delete(created["id"])


async def answered(api: Api, session_id: str, answer: Frame) -> str:
    """Let the agent call the tool, answer its question as a person does, and return what the tool said."""
    asked = await api.post(session_id, "/input?wait=60", {"input": "demo> tool mcp__shop__order {}"})
    assert (asked.status_code, asked.json()["waiting_for"]) == (202, "question"), asked.text
    pending = asked.json()["pending"]
    assert (pending["tool"], pending["title"]) == ("Elicitation", "Which size?")
    assert pending["input"]["mcp_server_name"] == "shop"
    assert pending["input"]["requested_schema"]["required"] == ["size"]
    given = await api.post(session_id, f"/permissions/{pending['request_id']}", answer)
    assert given.status_code == 200, given.text
    await api.until(session_id, status="waiting_input", waiting_for="prompt")
    return tool_answers(await api.all(session_id, "output"))[-1]
