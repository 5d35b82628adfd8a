"""Waiting for a session to become what somebody needs."""

import asyncio
from collections.abc import Callable
from typing import Final
from uuid import UUID

from jelmore.control.cache import RecordCache
from jelmore.ports import Store
from jelmore.session.record import Session

_POLL_S: Final = 1.0
"""Behind the notices of this process: another manager may do the work."""


class Watchers:
    """Tells waiting callers of records that this process saved."""

    def __init__(self, store: Store, cache: RecordCache) -> None:
        self._store = store
        self._cache = cache
        self._events: dict[UUID, set[asyncio.Event]] = {}

    async def saved(self, session: Session) -> None:
        """Keep the record for reads, and wake whoever waits for this session. Call after every save."""
        await self._cache.saved(session)
        for event in self._events.get(session.id, ()):
            event.set()

    async def until(self, session_id: UUID, holds: Callable[[Session], bool], seconds: float) -> Session:
        """Return the session as soon as `holds` is true of it, or as it is after `seconds`.

        Raises UnknownSessionError when it is gone.
        """
        event = asyncio.Event()
        self._events.setdefault(session_id, set()).add(event)
        try:
            async with asyncio.timeout(seconds):
                while not holds(await self._store.load(session_id)):
                    await self._wait(event)
        except TimeoutError:
            pass
        finally:
            waiting = self._events[session_id]
            waiting.discard(event)
            if not waiting:
                del self._events[session_id]
        return await self._store.load(session_id)

    async def _wait(self, event: asyncio.Event) -> None:
        try:
            async with asyncio.timeout(_POLL_S):
                await event.wait()
        except TimeoutError:
            return
        event.clear()
