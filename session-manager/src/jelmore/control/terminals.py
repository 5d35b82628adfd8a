"""Terminals in sessions: resumes the session for a client that may type, and connects to its runner."""

from uuid import UUID

from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.sessions.runner_calls import RunnerCalls, live
from jelmore.ports import TerminalLink, TerminalLinks
from jelmore.session.errors import ConflictError
from jelmore.session.states import Presence


class Terminals:
    """Connections of clients to the terminals of sessions."""

    def __init__(self, ports: Ports, runners: RunnerCalls, links: TerminalLinks) -> None:
        self._ports = ports
        self._runners = runners
        self._links = links

    async def connect(self, caller: Caller, session_id: UUID, opening: str, *, watch: bool) -> TerminalLink:
        """Connect to a terminal with this `open` frame. The caller closes what it gets.

        Resumes a paused or hibernated session for a client that may type. For one that only watches, raises
        ConflictError when the session is not awake. Raises SessionEndedError, DependencyError, RefusedError.
        """
        watches = watch or not caller.can_write
        if watches:
            session = live(caller.sees(await self._ports.store.load(session_id)))
            if session.presence is not Presence.AWAKE:
                raise ConflictError(f"session {session_id} is not awake; it has no terminal to watch")
        else:
            session = await self._runners.awake(caller, session_id)
        return await self._runners.call(
            session,
            lambda at: self._links.connect(at, opening, subject=caller.subject, can_write=caller.can_write),
        )
