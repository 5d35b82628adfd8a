"""One live stream of the events of all sessions, for any number of readers, each with its own filter and cursor.

Readers pull. Each reads from the newest events in this process, else from the log in PostgreSQL. So a slow reader
delays only itself, and a reader costs the database nothing while it keeps up. NATS takes no part: the stream works
without it.
"""

import asyncio
from bisect import bisect_right
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Final

from jelmore.ports.event_log import EventFilter, EventLog, LogBounds, LoggedEvent, LogPage

POLL_S: Final = 0.5
"""How late the events of another manager may be seen; those of this one wake the loop."""

_COALESCE_S: Final = 0.02
"""Events that arrive within this time are numbered together: each numbering is a commit."""

_RING_EVENTS: Final = 2000
_RING_BYTES: Final = 4 * 1024 * 1024
_CHUNK: Final = 200
_CHUNK_BYTES: Final = 1024 * 1024
_MAX_WINDOWS: Final = 5
_PROGRESS_INTERVAL: Final = 256
"""A reader whose filter matches nothing gets its cursor after so many positions, so that it does not fall behind."""

_ALL: Final = EventFilter()


@dataclass(frozen=True, slots=True)
class FeedStart:
    """The first item of a stream: where the log is, and whether events after the reader's cursor are missing."""

    bounds: LogBounds
    gap: bool


@dataclass(frozen=True, slots=True)
class FeedCursor:
    """Nothing matched up to this position."""

    position: int


type FeedItem = FeedStart | LoggedEvent | FeedCursor


@dataclass(frozen=True, slots=True)
class FeedPage:
    """A page of events, the bounds of the log, and whether events after the cursor are missing."""

    events: Sequence[LoggedEvent]
    until: int
    more: bool
    bounds: LogBounds
    gap: bool


class _Ring:
    """The newest events: all that are kept with a position above `after`, up to `until`."""

    def __init__(self) -> None:
        self.after = self.until = 0
        self._events: list[LoggedEvent] = []
        self._sizes: list[int] = []
        self._bytes = 0

    def restart(self, position: int) -> None:
        """Forget everything; the next event has a higher position."""
        self.after = self.until = position
        self._events, self._sizes, self._bytes = [], [], 0

    def add(self, page: LogPage) -> None:
        """Add the page after `until`, and drop the oldest events beyond the limits."""
        sizes = [_size(event) for event in page.events]
        self._events += page.events
        self._sizes += sizes
        self._bytes += sum(sizes)
        self.until = page.until
        surplus = max(0, len(self._events) - _RING_EVENTS)
        dropped_bytes = sum(self._sizes[:surplus])
        while self._bytes - dropped_bytes > _RING_BYTES and surplus < len(self._events) - 1:
            dropped_bytes += self._sizes[surplus]
            surplus += 1
        if surplus:
            self.after = self._events[surplus - 1].position
            self._bytes -= dropped_bytes
            del self._events[:surplus], self._sizes[:surplus]

    def read(self, after: int, wanted: EventFilter) -> LogPage | None:
        """Return the next events that match; None when the ring does not reach back that far."""
        if not self.after <= after <= self.until:
            return None
        start = bisect_right(self._events, after, key=lambda event: event.position)
        found: list[LoggedEvent] = []
        size = 0
        for place in range(start, len(self._events)):
            event = self._events[place]
            if not wanted.matches(event):
                continue
            size += self._sizes[place]
            if found and (len(found) >= _CHUNK or size > _CHUNK_BYTES):
                return LogPage(found, found[-1].position, more=True)
            found.append(event)
        return LogPage(found, self.until, more=False)


class EventFeed:
    """Numbers the events of this installation and feeds the readers of this process."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._ring = _Ring()
        self._newest = 0
        self._readers = 0
        self._moved = asyncio.Event()  # set when the newest position has moved, and then replaced

    async def run(self) -> None:
        """Number events and wake readers until cancelled. Raises DependencyError when PostgreSQL is unavailable."""
        while True:
            newest = await self._log.number()
            if newest != self._newest:
                await self._advance(newest)
                await asyncio.sleep(_COALESCE_S)
            await self._log.wait(POLL_S)

    def readers(self) -> int:
        """Return the number of open streams."""
        return self._readers

    @property
    def newest(self) -> int:
        """The newest position that this process has seen."""
        return self._newest

    async def moved(self, after: int) -> None:
        """Return when this process has seen a position above `after`."""
        while self._newest <= after:
            await self._moved.wait()

    async def page(self, wanted: EventFilter, after: int, limit: int, *, max_bytes: int) -> FeedPage:
        """Return stored events after a position, including all that were committed before the call.

        `more` says that more may follow, even when none matched here.
        """
        await self._log.number()
        bounds = await self._log.bounds()
        gap = _is_gap(bounds, after)
        cursor = bounds.oldest - 1 if gap else after
        for _ in range(_MAX_WINDOWS):
            page = await self._log.read(cursor, limit, wanted, max_bytes=max_bytes)
            cursor = page.until
            if page.events or not page.more:
                break
        return FeedPage(page.events, cursor, page.more, bounds, gap)

    async def follow(self, wanted: EventFilter, after: int | None) -> AsyncGenerator[FeedItem]:
        """Yield the start, then the events after `after` (None: only new ones), until closed.

        When events after `after` are no longer kept, or when it is not a position of this log, the start says `gap`
        and everything that is kept follows. Raises DependencyError when PostgreSQL is unavailable and needed. Close the
        generator (`aclose`) when the reader leaves.
        """
        self._readers += 1
        try:
            await self._log.number()  # "the present" is after what was committed before the call
            bounds = await self._log.bounds()
            gap = after is not None and _is_gap(bounds, after)
            yield FeedStart(bounds, gap)
            cursor = bounds.newest if after is None else after
            async for item in self._from(wanted, bounds.oldest - 1 if gap else cursor):
                yield item
        finally:
            self._readers -= 1

    async def _from(self, wanted: EventFilter, cursor: int) -> AsyncGenerator[FeedItem]:
        reported = cursor
        while True:
            moved = self._moved  # taken before the read, so that nothing is missed in between
            page = self._ring.read(cursor, wanted)
            if page is None:
                page = await self._log.read(cursor, _CHUNK, wanted, max_bytes=_CHUNK_BYTES)
            for event in page.events:
                yield event
                reported = event.position
            cursor = page.until
            if cursor - reported >= _PROGRESS_INTERVAL:
                yield FeedCursor(cursor)
                reported = cursor
            if not page.more and cursor >= self._newest:
                await moved.wait()

    async def _advance(self, newest: int) -> None:
        """Read the new events if there are readers, then wake them."""
        if not self._readers:
            self._ring.restart(newest)
        while self._ring.until < newest:
            self._ring.add(await self._log.read(self._ring.until, _CHUNK, _ALL, max_bytes=_CHUNK_BYTES))
        self._newest = newest
        ended, self._moved = self._moved, asyncio.Event()
        ended.set()


def _is_gap(bounds: LogBounds, after: int) -> bool:
    return not bounds.oldest - 1 <= after <= bounds.newest


def _size(logged: LoggedEvent) -> int:
    """Return about how much memory an event takes: its text values and a fixed share."""
    return 300 + sum(len(str(value)) for value in logged.event.payload.values())
