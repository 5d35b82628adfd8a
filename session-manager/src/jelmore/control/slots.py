"""Gives the slot of a paused session to one that needs it: the paused one is hibernated sooner, and loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.ports import Ports
from jelmore.control.queue import WorkQueue
from jelmore.control.watchers import Watchers
from jelmore.ports import ListQuery, Sort
from jelmore.session.errors import CapacityError, DependencyError, IllegalMoveError, StaleError, UnknownSessionError
from jelmore.session.record import Session
from jelmore.session.states import Fact, Presence
from jelmore.session.timers import may_hibernate
from jelmore.session.world import SandboxState

_log = structlog.get_logger(__name__)

_LOOKED_AT: Final = 1000
"""Paused sessions that are looked at, those that were idle for longest first."""

_ATTEMPTS: Final = 3
_NOTHING_FOR_S: Final = 1.0


class Slots:
    """Claims of slots on one manager."""

    def __init__(self, ports: Ports, queue: WorkQueue, watchers: Watchers) -> None:
        self._ports = ports
        self._queue = queue
        self._watchers = watchers
        self._lock = asyncio.Lock()
        self._nothing_until = 0.0

    async def claim[T](self, call: Callable[[], Awaitable[T]]) -> T:
        """Carry out a call that claims a slot. Raises CapacityError when no session can give its own."""
        for _ in range(_ATTEMPTS):
            try:
                return await call()
            except CapacityError:
                if not await self._free_one():
                    raise
        return await call()

    async def _free_one(self) -> bool:
        """Hibernate the session that has been paused for the longest time. Return whether there was one.

        Looks once a second at most when there is none: many creates may be refused at once.
        """
        async with self._lock:
            if asyncio.get_running_loop().time() < self._nothing_until:
                return False
            query = ListQuery(limit=_LOOKED_AT, presence=Presence.PAUSED, sort=Sort.LONGEST_QUIET)
            page, _ = await self._ports.store.list(query)
            for listed in filter(may_hibernate, page):
                if await self._gives_up(listed.id):
                    return True
            self._nothing_until = asyncio.get_running_loop().time() + _NOTHING_FOR_S
            return False

    async def _gives_up(self, session_id: UUID) -> bool:
        """Hibernate a session; return whether it still could be."""
        try:
            session = await self._ports.store.load(session_id)  # what a list shows lacks most of the spec
            if not may_hibernate(session) or await self._works(session):
                return False
            changed, drafts = session.after(Fact.HIBERNATED, self._ports.clock.now())
            saved = await self._ports.store.save(changed, drafts)
        except (StaleError, IllegalMoveError, UnknownSessionError):  # it is resumed, or ends
            return False
        except DependencyError:
            self._queue.add(session_id)  # it may be saved: its agent has little time to close its transcript
            raise
        self._queue.add(session_id)
        await self._watchers.saved(saved)
        _log.info("slot_given_up", session_id=str(session_id))
        return True

    async def _works(self, session: Session) -> bool:
        """Return whether its processes may run: the record says that it is paused a moment before it is.

        Until then it may be used, by a tool or a terminal that it has in the background.
        """
        try:
            sandbox = await self._ports.sandboxes.observe(session.id, session.generation)
        except DependencyError:
            return True
        return sandbox is not None and sandbox.state is SandboxState.RUNNING
