"""Live output for any number of readers, each with its own cursor.

Readers pull. Each reads lines by seq from the recent lines in this process, else from Redis, else from PostgreSQL, and
checks that the seqs continue. So a slow reader delays only itself, and the loss of Redis loses no output. The only
queue per reader is the bounded one for deltas, which are disposable.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.recent_lines import CHUNK, Chunk, RecentLines, chunk_of
from jelmore.control.stream_frames import (
    StreamItem,
    end_item,
    first_cursor,
    hello_item,
    is_attendance,
    is_delta,
    is_message,
    state_item,
)
from jelmore.ports import LiveLine, LiveOutput, Store
from jelmore.session.errors import DependencyError
from jelmore.session.output import Output
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

_ALL_RINGS_BYTES: Final = 128 * 1024 * 1024
"""Limit of the recent lines of all sessions. Beyond it the largest ring is dropped; its lines are read from Redis."""

_DELTAS: Final = 500
_CHUNK_BYTES: Final = 1024 * 1024
_ALL_CHUNKS_BYTES: Final = 128 * 1024 * 1024
_LEAST_CHUNK_BYTES: Final = 32 * 1024
"""Limits of the unsent lines that a reader holds (or one larger line). Many readers share a total."""

_HOT_CHUNK: Final = 16
"""Lines per read of the hot tail: Redis can limit a read by lines, but not by bytes."""

_CATCH_UP_S: Final = 1.5
_CATCH_UP_POLL_S: Final = 0.2
_POLL_S: Final = 15.0
_POLL_WITHOUT_REDIS_S: Final = 0.5


@dataclass(slots=True, eq=False)
class _Reader:
    """The unnumbered frames that one reader has not received yet."""

    wake: asyncio.Event = field(default_factory=asyncio.Event)
    deltas: deque[str] = field(default_factory=lambda: deque(maxlen=_DELTAS))
    state_moved: bool = True
    must_load: bool = True
    """Whether the record may have been changed by another process."""
    attendance: str | None = None
    """The newest frame that says who has the session open, until it is sent; None for a reader that did not ask."""


@dataclass(slots=True)
class _Watched(RecentLines):
    """A session with readers, and its newest lines."""

    readers: set[_Reader] = field(default_factory=set)
    state: str = ""
    """The last state frame that this process fed; Redis delivers it a second time."""
    record: Session | None = None
    """The record as this process last saved it."""


class Streams:
    """The live streams of this process."""

    def __init__(self, store: Store, live: LiveOutput, redis: CircuitBreaker) -> None:
        self._store = store
        self._live = live
        self._redis = redis
        self._watched: dict[UUID, _Watched] = {}
        self._fed_here: set[UUID] = set()
        self._list_changed = asyncio.Event()
        self._live_is_there = False
        self._ring_bytes = 0
        self._attendance: dict[UUID, str] = {}
        """The newest frame of each session that somebody has open at this manager, for who comes next."""

    # --- one Redis connection for all readers

    def wanted(self) -> Mapping[UUID, int | None]:
        """Return the watched sessions and the newest seq seen of each (the `WatchList` port).

        None for a session that this process relays: its lines come from the relay; only states set by other managers
        come from Redis.
        """
        return {
            session_id: None if session_id in self._fed_here else watched.seen
            for session_id, watched in self._watched.items()
        }

    async def changed(self) -> None:
        """Return when the watched sessions have changed since the last call (the `WatchList` port)."""
        await self._list_changed.wait()
        self._list_changed.clear()

    async def run(self) -> None:
        """Feed the readers from Redis until cancelled.

        Raises DependencyError when Redis fails; readers then use PostgreSQL.
        """
        try:
            await self._live.answers()
            self._live_is_there = True
            async with aclosing(self._live.watch(self)) as lines:
                async for line in lines:
                    self._take(line)
        finally:
            self._live_is_there = False
            self._wake_all()

    def readers(self) -> int:
        """Return the number of readers."""
        return sum(len(watched.readers) for watched in self._watched.values())

    # --- sessions that this process relays

    def feed_from_here(self, session_id: UUID) -> None:
        """Called when this process begins to relay the session: `feed` and `feed_frame` deliver its frames."""
        self._fed_here.add(session_id)
        self._moved(session_id)

    def feed_from_redis(self, session_id: UUID) -> None:
        """Called when this process stops relaying the session: its frames come from Redis again."""
        self._fed_here.discard(session_id)
        self._moved(session_id)

    def feed(self, session_id: UUID, outputs: Sequence[Output]) -> None:
        """Deliver output that PostgreSQL holds to the readers in this process. Skips output delivered before."""
        watched = self._watched.get(session_id)
        if watched is not None:
            for output in outputs:
                self._give_line(watched, output.seq, output.text)

    def feed_frame(self, session_id: UUID, text: str) -> None:
        """Deliver a delta or state frame to the readers in this process. `feed_record` has had the state's record."""
        watched = self._watched.get(session_id)
        if watched is None:
            return
        if not is_delta(text):
            watched.state = text
        self._give_frame(watched, text, must_load=False)

    def feed_record(self, session: Session) -> None:
        """Keep the record that this process has saved, so that its readers need not load it one by one."""
        watched = self._watched.get(session.id)
        if watched is not None and (watched.record is None or watched.record.version < session.version):
            watched.record = session  # two saves may come here in any order

    def feed_attendance(self, session_id: UUID, text: str) -> None:
        """Deliver who has a session open to the readers in this process, also to those that come later.

        An empty text: nobody has it open at this manager any more.
        """
        if not text:
            self._attendance.pop(session_id, None)
            return
        if text != self._attendance.get(session_id):  # Redis delivers what this process fed a second time
            self._attendance[session_id] = text
            watched = self._watched.get(session_id)
            for reader in watched.readers if watched is not None else ():
                if reader.attendance is not None:
                    reader.attendance = text
                    reader.wake.set()

    def _moved(self, session_id: UUID) -> None:
        """Called when the source of a session's lines has changed: makes readers check for lines missed in between."""
        watched = self._watched.get(session_id)
        if watched is not None:
            self._list_changed.set()
            self._give_frame(watched, "")

    def _take(self, line: LiveLine) -> None:
        """Deliver a frame from Redis to the readers."""
        watched = self._watched.get(line.session_id)
        if watched is None:
            return
        if is_attendance(line.text):
            self.feed_attendance(line.session_id, line.text)
        elif line.seq is not None and line.text:
            self._give_line(watched, line.seq, line.text)
        elif line.session_id not in self._fed_here or not (is_delta(line.text) or line.text == watched.state):
            self._give_frame(watched, line.text)

    def _give_line(self, watched: _Watched, seq: int, text: str) -> None:
        before = watched.line_bytes
        if not watched.add(seq, text):
            return
        self._ring_bytes += watched.line_bytes - before
        if self._ring_bytes > _ALL_RINGS_BYTES:
            self._drop_a_ring()
        whole = is_message(text)
        for reader in watched.readers:
            if whole:
                reader.deltas.clear()  # the whole message replaces its deltas
            reader.wake.set()

    def _drop_a_ring(self) -> None:
        self._ring_bytes = sum(each.line_bytes for each in self._watched.values())  # without sessions that nobody reads
        if self._ring_bytes > _ALL_RINGS_BYTES:
            largest = max(self._watched.values(), key=lambda each: each.line_bytes)
            self._ring_bytes -= largest.line_bytes
            largest.drop_lines()

    def _chunk_bytes(self) -> int:
        return max(_LEAST_CHUNK_BYTES, min(_CHUNK_BYTES, _ALL_CHUNKS_BYTES // max(self.readers(), 1)))

    def _give_frame(self, watched: _Watched, text: str, *, must_load: bool = True) -> None:
        delta = is_delta(text)
        for reader in watched.readers:
            if delta:
                reader.deltas.append(text)
            else:
                reader.state_moved = True
                reader.must_load |= must_load
            reader.wake.set()

    def _wake_all(self) -> None:
        for watched in self._watched.values():
            for reader in watched.readers:
                reader.wake.set()

    # --- one reader

    async def follow(
        self, session: Session, after: int | None, *, certain: bool = False, attendance: bool = False
    ) -> AsyncIterator[StreamItem]:
        """Yield hello, the state, then output after `after` (None: only new output) and state changes, until the end.

        When `after` is ahead of PostgreSQL, waits briefly for it; then treats it as a seq of another history and
        reports a gap, followed by all output. `certain` means that the runner has assigned this seq: waits for the
        output after it without that limit. With `attendance`, also yields who has the session open. Ends with an `end`
        item when the session has ended and all output is delivered. Raises DependencyError when PostgreSQL is
        unavailable and its data is needed. Close the generator (`aclose`) when the reader leaves.
        """
        watched = self._watched.get(session.id)
        if watched is None:
            watched = self._watched[session.id] = _Watched(seen=session.output_seq)
            self._list_changed.set()
        reader = _Reader(attendance=self._attendance.get(session.id, "") if attendance else None)
        watched.readers.add(reader)
        try:
            async with aclosing(self._items(session, after, watched, reader, certain=certain)) as items:
                async for item in items:
                    yield item
        finally:
            watched.readers.discard(reader)
            if not watched.readers:
                self._watched.pop(session.id, None)
                self._list_changed.set()

    async def _items(
        self, session: Session, after: int | None, watched: _Watched, reader: _Reader, *, certain: bool
    ) -> AsyncGenerator[StreamItem]:
        patience_s = 0.0 if certain else _CATCH_UP_S
        session = await self._caught_up(session.id, after or 0, reader, patience_s)
        cursor, resume = first_cursor(session, after, certain=certain)
        yield hello_item(session, resume)
        shown = state_item(session)
        yield shown
        while True:
            reader.wake.clear()
            chunk = await self._lines(session.id, watched, cursor, session.output_seq)
            for seq, text in chunk.lines:
                yield StreamItem("event", seq, text)
                cursor = seq
            if chunk.more:
                continue
            while reader.deltas:
                yield StreamItem("delta", None, reader.deltas.popleft())
            if reader.attendance:
                frame, reader.attendance = reader.attendance, ""
                yield StreamItem("attendance", None, frame)
            if not reader.state_moved:
                await self._pause(session.id, reader)
                continue
            reader.state_moved = False
            session = await self._newest(session, watched, reader)
            if (state := state_item(session)) != shown:
                yield (shown := state)
            if session.output_seq > cursor:
                continue
            if session.ended:
                yield end_item(session)
                return

    async def _caught_up(self, session_id: UUID, after: int, reader: _Reader, patience_s: float) -> Session:
        """Load the record after the reader is registered, so that no change is missed in between.

        Waits up to `patience_s` for a live session's record to reach `after`: a client that read from the runner
        directly may be ahead of it.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + patience_s
        while True:
            reader.wake.clear()
            session = await self._store.load(session_id)
            left_s = deadline - clock()
            if after <= session.output_seq or session.ended or left_s <= 0:
                return session
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left_s, _CATCH_UP_POLL_S)):
                    await reader.wake.wait()

    async def _newest(self, session: Session, watched: _Watched, reader: _Reader) -> Session:
        """Return the record, from memory if this process has made all changes since the reader's record."""
        if reader.must_load:
            reader.must_load = False
            session = await self._store.load(session.id)
        newest = watched.record
        return newest if newest is not None and newest.version > session.version else session

    async def _pause(self, session_id: UUID, reader: _Reader) -> None:
        is_fed = session_id in self._fed_here or (self._live_is_there and not self._redis.is_open)
        try:
            async with asyncio.timeout(_POLL_S if is_fed else _POLL_WITHOUT_REDIS_S):
                await reader.wake.wait()
        except TimeoutError:
            reader.state_moved = reader.must_load = True  # no notification for a while: check the record

    async def _lines(self, session_id: UUID, watched: _Watched, cursor: int, known: int) -> Chunk:
        """Return the next lines after `cursor` from the nearest source that has them without gaps.

        `known` is a seq that PostgreSQL is known to hold: an empty result of a Redis that lags behind is not trusted.
        """
        known = max(known, watched.seen)
        most_bytes = self._chunk_bytes()
        near = watched.after(cursor, most_bytes)
        if near is not None and (near.lines or known <= cursor):
            return near  # empty is trusted only if PostgreSQL holds no more: Redis may have missed an append
        if session_id in self._fed_here and known <= cursor:
            return Chunk([], more=False)
        if self._live_is_there:
            try:
                tail = await self._redis.call(lambda: self._live.tail(session_id, cursor, _HOT_CHUNK))
            except DependencyError:
                tail = None
            whole = tail is not None and all(output.seq == cursor + 1 + index for index, output in enumerate(tail))
            if tail is not None and whole and (tail or known <= cursor):
                return chunk_of([(output.seq, output.text) for output in tail], _HOT_CHUNK, most_bytes)
        stored = await self._store.output(session_id, cursor, CHUNK, max_bytes=most_bytes)
        return Chunk([(output.seq, output.text) for output in stored], stored.more)
