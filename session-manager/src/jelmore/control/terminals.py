"""Terminals in sessions: resumes the session for a client that may type, and connects to its runner."""

import asyncio
from typing import Final
from uuid import UUID

from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.sessions.runner_calls import RunnerCalls, live
from jelmore.ports import TerminalLink, TerminalLinks
from jelmore.session.errors import ConflictError, DependencyError
from jelmore.session.record import Session
from jelmore.session.states import Presence

_LOOK_S: Final = 2.0
"""A paused runner takes connections and answers none."""


class Terminals:
    """Connections of clients to the terminals of sessions."""

    def __init__(self, ports: Ports, runners: RunnerCalls, links: TerminalLinks) -> None:
        self._ports = ports
        self._runners = runners
        self._links = links

    async def connect(
        self, caller: Caller, session_id: UUID, opening: str, *, watch: bool, again: bool = False
    ) -> TerminalLink:
        """Connect to a terminal with this `open` frame. The caller closes what it gets.

        Resumes a paused or hibernated session for a client that may type. For one that only watches, and for one that
        connects `again` by itself, raises ConflictError when the session is not awake: a shell that somebody left open
        would wake the session after each pause. Raises SessionEndedError, DependencyError, RefusedError.
        """
        watches = watch or not caller.can_write
        if watches or again:
            session = live(caller.sees(await self._ports.store.load(session_id)))
            if not await self._serves(session):
                raise ConflictError(_asleep(session, again=again))
        else:
            session = await self._runners.awake(caller, session_id)
        return await self._runners.call(
            session,
            lambda at: self._links.connect(at, opening, subject=caller.subject, can_write=caller.can_write),
        )

    async def _serves(self, session: Session) -> bool:
        """Return whether the session's terminals are there without resuming it.

        A record says `paused` as soon as the session is to be paused. Until nobody types, its runner continues.
        """
        if session.presence is not Presence.PAUSED:
            return session.presence is Presence.AWAKE
        try:
            async with asyncio.timeout(_LOOK_S):
                health = await self._ports.runners.health(await self._ports.control_of(session))
        except (TimeoutError, DependencyError):
            return False
        return not health.quiet


def _asleep(session: Session, *, again: bool) -> str:
    if not again:
        return f"session {session.id} is not awake; it has no terminal to watch"
    if session.presence is Presence.PAUSED:
        return "the session is paused, and this terminal with it: open the terminal again to continue"
    return "the session is hibernated, which has ended this terminal: open another one to resume the session"
