"""Lets callers wait until a session reaches a state."""

import asyncio
from collections.abc import Callable
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
        self._events: dict[UUID, set[asyncio.Event]] = {}

    async def saved(self, session: Session) -> None:
        """Cache the record and wake callers that wait for this session. Call it after every save made for a request.

        Waits briefly for the cache, so that the next read sees the record, whichever manager serves it.
        """
        self.notify(session.id)
        await self._cache.saved(session)

    def notify(self, session_id: UUID) -> None:
        """Wake the callers that wait for this session."""
        for event in self._events.get(session_id, ()):
            event.set()

    async def until(self, session_id: UUID, holds: Callable[[Session], bool], seconds: float) -> Session:
        """Return the session once `holds(session)` is true, or its present record after `seconds`.

        Raises UnknownSessionError when it no longer exists.
        """
        event = asyncio.Event()
        self._events.setdefault(session_id, set()).add(event)
        try:
            async with asyncio.timeout(seconds):
                poll_s = _FIRST_POLL_S
                while not holds(await self._store.load(session_id)):
                    await self._wait(event, poll_s)
                    poll_s = min(poll_s * 2, _LONGEST_POLL_S)
        except TimeoutError:
            pass
        finally:
            waiting = self._events[session_id]
            waiting.discard(event)
            if not waiting:
                del self._events[session_id]
        return await self._store.load(session_id)

    async def _wait(self, event: asyncio.Event, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            return
        event.clear()
