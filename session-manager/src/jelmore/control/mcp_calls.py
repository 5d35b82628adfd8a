"""The calls on the MCP servers of a running agent: their state, reconnect, and switching one on or off."""

from collections.abc import Sequence
from uuid import UUID

from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.sessions.runner_calls import RunnerCalls, live
from jelmore.session.errors import ConflictError
from jelmore.session.record import Session
from jelmore.session.states import Presence
from jelmore_protocol.control import McpReconnect, McpServer, McpToggle


class McpCalls:
    """MCP servers of sessions. None of the calls resumes a session; its agent reconnects when it resumes."""

    def __init__(self, ports: Ports, runners: RunnerCalls) -> None:
        self._ports = ports
        self._runners = runners

    async def servers(self, caller: Caller, session_id: UUID) -> Sequence[McpServer]:
        """Return the MCP servers of the agent with their state. Raises ConflictError for a session not awake."""
        session = await self._awake(caller, session_id)
        return (await self._runners.call(session, self._ports.runners.mcp_servers)).servers

    async def reconnect(self, caller: Caller, session_id: UUID, name: str) -> Sequence[McpServer]:
        """Connect to a server again; return all servers. Raises ConflictError when it fails. May run twice."""
        caller.check_may_write()
        session = await self._awake(caller, session_id)
        await self._runners.call(session, lambda at: self._ports.runners.reconnect_mcp(at, McpReconnect(name=name)))
        return await self.servers(caller, session_id)

    async def toggle(self, caller: Caller, session_id: UUID, name: str, *, enabled: bool) -> Sequence[McpServer]:
        """Enable or disable a server until the agent's process ends; return all servers. May run twice.

        Raises ConflictError when there is no such server.
        """
        caller.check_may_write()
        session = await self._awake(caller, session_id)
        wanted = McpToggle(name=name, enabled=enabled)
        await self._runners.call(session, lambda at: self._ports.runners.toggle_mcp(at, wanted))
        return await self.servers(caller, session_id)

    async def _awake(self, caller: Caller, session_id: UUID) -> Session:
        session = live(caller.sees(await self._ports.store.load(session_id)))
        if session.presence is not Presence.AWAKE:
            raise ConflictError(f"session {session_id} is not awake; it connects to its servers with the next input")
        return session
