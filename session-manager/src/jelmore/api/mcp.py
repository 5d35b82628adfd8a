"""The MCP servers of a session's agent: their state, reconnect, and switching one on or off."""

from collections.abc import Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf, SessionId
from jelmore.api.fields import Body
from jelmore_protocol.bounds import MAX_ID_CHARACTERS
from jelmore_protocol.control import McpServer

router = APIRouter(route_class=AuthenticatedRoute, tags=["conversation"])

ServerName = Annotated[str, Path(min_length=1, max_length=MAX_ID_CHARACTERS)]


class McpServersResponse(BaseModel):
    """The MCP servers of an agent. `status` is `connected`, `failed`, `needs-auth`, `pending` or `disabled`."""

    session_id: str
    servers: list[McpServer]


class McpChangeBody(Body):
    """Whether the agent uses the server."""

    enabled: bool


@router.get("/{session_id}/mcp", response_model=McpServersResponse, name="list_mcp_servers")
async def list_mcp_servers(context: ContextOf, caller: CallerOf, session_id: SessionId) -> McpServersResponse:
    """List the MCP servers of the agent with their state. 409 while the session is not awake."""
    return _shown(session_id, await context.services.mcp.servers(caller, session_id))


@router.post("/{session_id}/mcp/{name}/reconnect", response_model=McpServersResponse, name="reconnect_mcp_server")
async def reconnect_mcp_server(
    context: ContextOf, caller: CallerOf, session_id: SessionId, name: ServerName
) -> McpServersResponse:
    """Connect to a server again. 409 when that fails, when there is no such server, and while it is not awake."""
    return _shown(session_id, await context.services.mcp.reconnect(caller, session_id, name))


@router.patch("/{session_id}/mcp/{name}", response_model=McpServersResponse, name="change_mcp_server")
async def change_mcp_server(
    context: ContextOf, caller: CallerOf, session_id: SessionId, name: ServerName, body: McpChangeBody
) -> McpServersResponse:
    """Switch a server on or off, until the agent's process ends. 409 when there is no such server."""
    return _shown(session_id, await context.services.mcp.toggle(caller, session_id, name, enabled=body.enabled))


def _shown(session_id: UUID, servers: Sequence[McpServer]) -> McpServersResponse:
    return McpServersResponse(session_id=str(session_id), servers=list(servers))
