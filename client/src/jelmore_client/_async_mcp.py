"""The MCP servers of a session's agent, asynchronously. `_sync_mcp.py` is generated from this file."""

from typing import TYPE_CHECKING

from jelmore_client.core.requests import Request, session_path
from jelmore_client.observation_models import McpServer

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore


class AsyncMcpServers:
    """The MCP servers of the agent. Every call raises ConflictError while the session is not awake."""

    def __init__(self, client: "AsyncJelmore", session_id: str) -> None:
        self._client = client
        self._session_id = session_id

    async def servers(self) -> list[McpServer]:
        """Return the servers with their state."""
        return await self._client.fetch_all(Request("GET", self._path()), McpServer, "servers")

    async def switch(self, name: str, *, enabled: bool) -> list[McpServer]:
        """Switch a server on or off until the agent's process ends; return all servers. May be called twice."""
        request = Request("PATCH", self._path(name), json={"enabled": enabled})
        return await self._client.fetch_all(request, McpServer, "servers")

    async def reconnect(self, name: str) -> list[McpServer]:
        """Connect to a server again; return all servers. Raises ConflictError also when that fails."""
        return await self._client.fetch_all(Request("POST", self._path(name, "reconnect")), McpServer, "servers")

    def _path(self, *parts: str) -> str:
        return session_path(self._session_id, "mcp", *parts)
