"""Lets callers wait until a session reaches a state."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from jelmore.control.cache import RecordCache
from jelmore.ports import Store
from jelmore.session.record import Session

_FIRST_POLL_S: Final = 0.05
_LONGEST_POLL_S: Final = 1.0
"""Polling supplements the notifications of this process, because another manager may save the record."""


class Watchers:
    """Wakes callers that wait for a change of a record when this process has saved it."""

    def __init__(self, store: Store, cache: RecordCache) -> None:
        self._store = store
        self._cache = cache
        self._waiters: dict[UUID, set[_Waiter]] = {}
        self._deadlines: set[asyncio.Timeout] = set()
        self._leaving = False

    @asynccontextmanager
    async def patience(self, seconds: float) -> AsyncGenerator[None]:
        """Raise TimeoutError after `seconds`, or at once when this process stops."""
        async with asyncio.timeout(0 if self._leaving else seconds) as deadline:
            self._deadlines.add(deadline)
            try:
                yield
            finally:
                self._deadlines.discard(deadline)

    def leave(self) -> None:
        """End all waits, now and from now on, as if their time were up: this process stops."""
        self._leaving = True
        now = asyncio.get_running_loop().time()
        for deadline in self._deadlines:
            if not deadline.expired():
                deadline.reschedule(now)

    async def saved(self, session: Session) -> None:
        """Cache the record and wake callers that wait for this session. Call it after every save made for a request.

        Waits briefly for the cache, so that the next read sees the record, whichever manager serves it.
        """
        self.notify(session)
        await self._cache.saved(session)

    def notify(self, session: Session) -> None:
        """Wake the callers that wait for this session, which was just saved like this."""
        for waiter in self._waiters.get(session.id, ()):
            if waiter.saved is None or waiter.saved.version < session.version:
                waiter.saved = session
            waiter.event.set()

    async def until(self, session_id: UUID, holds: Callable[[Session], bool], seconds: float) -> Session:
        """Return the session once `holds(session)` is true, or its present record after `seconds`.

        Raises UnknownSessionError when it no longer exists.
        """
        waiter = _Waiter()
        self._waiters.setdefault(session_id, set()).add(waiter)
        try:
            async with self.patience(seconds):
                return await self._until(session_id, holds, waiter)
        except TimeoutError:
            pass
        finally:
            waiting = self._waiters[session_id]
            waiting.discard(waiter)
            if not waiting:
                del self._waiters[session_id]
        return await self._store.load(session_id)

    async def _until(self, session_id: UUID, holds: Callable[[Session], bool], waiter: "_Waiter") -> Session:
        session, poll_s = await self._store.load(session_id), _FIRST_POLL_S
        while not holds(session):
            saved = waiter.saved
            if saved is not None and saved.version > session.version:  # no need to read what was just written
                session = saved
                continue
            await _wait(waiter.event, poll_s)
            poll_s = min(poll_s * 2, _LONGEST_POLL_S)
            if waiter.saved is saved:
                session = await self._store.load(session_id)
        return session


@dataclass(eq=False, slots=True)
class _Waiter:
    """One caller that waits, and the newest record that this process has saved meanwhile."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    saved: Session | None = None


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
    event.clear()
