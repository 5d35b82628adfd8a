"""The `EventLog` and `TicketStore` ports in memory."""

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from uuid import UUID

from jelmore.ports.event_log import EventFilter, LogBounds, LoggedEvent, LogPage
from jelmore.ports.tickets import TakenTicket
from jelmore.session.plain_text import to_json
from tests.fakes.memory_store import MemoryStore


class MemoryEventLog:
    """Numbers the events of a MemoryStore. Without a limit of positions per read, unless `window` is lowered."""

    def __init__(self, store: MemoryStore, *, window: int = 2000) -> None:
        self._store = store
        self._window = window
        self._known: dict[tuple[UUID, int], int] = {}
        self._log: dict[int, tuple[LoggedEvent, datetime]] = {}
        self._oldest = 1
        self._tickets: dict[str, tuple[TakenTicket, datetime]] = {}

    async def number(self) -> int:
        await self._store.check()
        self._store.arrived.clear()
        for session_id, events in list(self._store.kept_events.items()):
            session = self._store.sessions.get(session_id)
            for event in events:
                if (session_id, event.seq) in self._known:
                    continue
                position = self._known[session_id, event.seq] = len(self._known) + 1
                owner, user_id = (session.owner, session.spec.user_id) if session else (None, None)
                self._log[position] = LoggedEvent(position, event, owner, user_id), event.at
        return len(self._known)

    async def bounds(self) -> LogBounds:
        await self._store.check()
        return LogBounds(self._oldest, len(self._known))

    async def read(self, after: int, limit: int, wanted: EventFilter, *, max_bytes: int) -> LogPage:
        await self._store.check()
        span = sorted(position for position in self._log if position > after)[: self._window]
        until = span[-1] if span else after
        rows = [self._log[position][0] for position in span]
        found = [row for row in rows if wanted.matches(row) and self._is_kept(row)][:limit]
        sums = accumulate(len(to_json(dict(row.event.payload)).encode()) for row in found)
        fitting = [place == 0 or size <= max_bytes for place, size in enumerate(sums)]
        shown = found[: sum(fitting)]
        if shown and (len(shown) >= limit or len(shown) < len(found)):
            return LogPage(shown, shown[-1].position, more=True)
        return LogPage(shown, until, more=len(span) >= self._window)

    def _is_kept(self, logged: LoggedEvent) -> bool:
        return logged.event in self._store.kept_events.get(logged.event.session_id, ())

    async def trim(self, max_age_s: float) -> int:
        edge = datetime.now(UTC) - timedelta(seconds=max_age_s)
        outdated = [position for position, (_, at) in self._log.items() if at < edge]
        for position in outdated:
            del self._log[position]
        self._oldest = min(self._log, default=len(self._known) + 1)
        return len(outdated)

    async def wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._store.arrived.wait()
        except TimeoutError:
            pass

    async def add_ticket(self, digest: str, taken: TakenTicket, ttl_s: float) -> datetime:
        expires_at = datetime.now(UTC) + timedelta(seconds=ttl_s)
        self._tickets[digest] = taken, expires_at
        return expires_at

    async def take_ticket(self, digest: str) -> TakenTicket | None:
        taken, expires_at = self._tickets.pop(digest, (None, datetime.now(UTC)))
        return taken if expires_at >= datetime.now(UTC) else None

    async def close(self) -> None:
        pass
