"""Gives the slot of a paused session to one that needs it: the paused one is hibernated sooner, and loses nothing."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from jelmore.control.queue import WorkQueue
from jelmore.control.reconciler import Ports
from jelmore.control.watchers import Watchers
from jelmore.ports import ListQuery, Sort
from jelmore.session.errors import CapacityError, IllegalMoveError, StaleError
from jelmore.session.record import Session
from jelmore.session.states import Fact, Presence, SessionStatus

_log = structlog.get_logger(__name__)

_LOOKED_AT: Final = 200
"""Idle sessions that are looked at, the most recently active first: older ones are hibernated already."""

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
            query = ListQuery(limit=_LOOKED_AT, status=SessionStatus.IDLE, sort=Sort.RECENTLY_ACTIVE)
            page, _ = await self._ports.store.list(query)
            for session in sorted(filter(_may_yield, page), key=lambda each: (each.last_activity_at, each.id)):
                try:
                    changed, drafts = session.after(Fact.HIBERNATED, self._ports.clock.now())
                    saved = await self._ports.store.save(changed, drafts)
                except (StaleError, IllegalMoveError):  # it is resumed, or ends
                    continue
                await self._watchers.saved(saved)
                self._queue.add(session.id)
                _log.info("slot_given_up", session_id=str(session.id))
                return True
            self._nothing_until = asyncio.get_running_loop().time() + _NOTHING_FOR_S
            return False


def _may_yield(session: Session) -> bool:
    """Return whether a session is paused and may be hibernated at all."""
    return session.presence is Presence.PAUSED and not session.ended and session.spec.timing.hibernate_after_s > 0
