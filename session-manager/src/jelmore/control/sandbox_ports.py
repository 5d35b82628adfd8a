"""Ports of sessions: what listens in a sandbox, and connections to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.control.sessions.runner_calls import RunnerCalls, live
from jelmore.control.workspaces import Workspaces
from jelmore.ports import PortConnection, PortConnections, PortHttp
from jelmore.session.errors import ConflictError, DependencyError, InvalidRequestError
from jelmore.session.states import Presence
from jelmore_protocol.sandbox_ports import MAX_PORT


@dataclass(frozen=True, slots=True)
class ListeningPort:
    """A port on which a process of the session listens. `command` and `since` are what the sandbox says."""

    port: int
    command: str
    since: datetime | None  # when the process started


class SandboxPorts:
    """The ports of all sessions."""

    def __init__(
        self,
        ports: Ports,
        queries: SessionQueries,
        runners: RunnerCalls,
        workspaces: Workspaces,
        connections: PortConnections,
        http: PortHttp,
    ) -> None:
        self._ports = ports
        self._queries = queries
        self._runners = runners
        self._workspaces = workspaces
        self._connections = connections
        self.http = http

    async def listening(self, caller: Caller, session_id: UUID) -> list[ListeningPort]:
        """Return what listens now, by number; nothing while the session is not awake. Wakes nothing."""
        session = await self._queries.get(caller, session_id)
        if session.presence is not Presence.AWAKE or session.container_id is None:
            return []
        async with self._workspaces.call(session, {"op": "ports"}) as answer:
            return _listed(answer.head)

    async def connect(self, caller: Caller, session_id: UUID, port: int, *, wake: bool) -> PortConnection:
        """Connect to a port for a caller that may write. The caller closes what it gets.

        With `wake`, resumes a paused or hibernated session first; without, raises ConflictError for one. Raises
        InvalidRequestError, ForbiddenError, SessionEndedError, and what `PortConnections.connect` raises.
        """
        check_port(port)
        caller.check_may_write()
        if wake:
            session = await self._runners.awake(caller, session_id)
            return await self._runners.call(
                session, lambda at: self._connections.connect(at, port, subject=caller.subject)
            )
        session = live(caller.sees(await self._ports.store.load(session_id)))
        if session.presence is not Presence.AWAKE or session.container_id is None:
            raise ConflictError(f"session {session_id} is not awake")
        at = await self._ports.control_of(session)
        return await self._connections.connect(at, port, subject=caller.subject)


def check_port(port: int) -> None:
    """Raise InvalidRequestError for what is no TCP port."""
    if not 0 < port <= MAX_PORT:
        raise InvalidRequestError(f"port: must be from 1 to {MAX_PORT}")


def _listed(head: Mapping[str, Any]) -> list[ListeningPort]:
    """Return the ports in a helper's answer. Raises DependencyError for another shape: it comes from the sandbox."""
    try:
        return [
            ListeningPort(
                int(each["port"]),
                str(each["command"]),
                None if each["since"] is None else datetime.fromtimestamp(float(each["since"]), UTC),
            )
            for each in head["ports"]
        ]
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        raise DependencyError("workspace", "the sandbox sent no list of ports") from None
