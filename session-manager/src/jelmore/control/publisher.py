"""Publishes stored data outside the storage path: to readers in this process at once, to Redis in the background.

The relay calls these methods after each commit and never waits, so a Redis that hangs cannot stop the storing of
output. The backlog for Redis is bounded in bytes; beyond that the oldest items are dropped. This loses no data: deltas
are disposable, the hot tail catches up from PostgreSQL, and only the latest state and record matter.
"""

import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, cast
from uuid import UUID

import structlog

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.streams import Streams
from jelmore.control.tails import REDIS_WRITE_S, Tails
from jelmore.control.tasks import Tasks
from jelmore.control.watchers import Watchers
from jelmore.ports import LiveOutput, Store
from jelmore.session.errors import JelmoreError
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore_protocol.frames import StateFrame

_log = structlog.get_logger(__name__)

_MAX_BYTES: Final = 16 * 1024 * 1024
_MAX_RECORDS: Final = 256
"""Limit of the backlog of records, each with up to 1 MiB of prompt. Beyond it, readers use PostgreSQL."""

_BATCH_BYTES: Final = 1024 * 1024
_WORKERS: Final = 4


@dataclass(slots=True)
class _Waiting:
    """The backlog of one session for Redis: deltas (as text) and output in order, and the latest of the rest."""

    items: deque[str | Output] = field(default_factory=deque)
    state: str | None = None
    nudge: Session | None = None
    """Whose state to publish when output could not be published: it makes readers check PostgreSQL."""

    record: Session | None = None
    expire_s: int | None = None


class Publisher:
    """Publishes stored output, deltas, states and records. Its methods return at once and do not raise."""

    def __init__(
        self,
        store: Store,
        live: LiveOutput,
        cache: RecordCache,
        watchers: Watchers,
        streams: Streams,
        redis: CircuitBreaker,
        tasks: Tasks,
    ) -> None:
        self._live = live
        self._cache = cache
        self._watchers = watchers
        self._streams = streams
        self._redis = redis
        self._tasks = tasks
        self._tails = Tails(store, live, redis, tasks)
        self._waiting: dict[UUID, _Waiting] = {}
        self._due: deque[UUID] = deque()
        """Sessions with a backlog, in order of their turn, except those that a worker is processing."""
        self._bytes = 0
        self._records = 0
        self._workers: set[int] = set()

    def follow(self, session: Session) -> None:
        """Called when this process begins to relay the session: its readers are then fed directly."""
        self._streams.feed_from_here(session.id)
        if session.output_seq:  # an earlier relay may have ended before all of it was in Redis
            self._tails.catch_up(session.id, session.output_seq)

    def unfollow(self, session_id: UUID) -> None:
        """Called when this process stops relaying the session. Succeeds when it did not relay it."""
        self._streams.feed_from_redis(session_id)

    def delta(self, session_id: UUID, text: str) -> None:
        """Publish a delta frame."""
        self._streams.feed_frame(session_id, text)
        self._add(session_id, [text])

    def stored(self, before: Session, saved: Session, outputs: Sequence[Output]) -> None:
        """Publish output that PostgreSQL holds, and the record saved with it."""
        self._streams.feed(saved.id, outputs)
        self._add(saved.id, outputs)
        self._for(saved.id).nudge = saved
        self.saved(before, saved)

    def saved(self, before: Session, saved: Session) -> None:
        """Wake callers that wait for this record; publish the record, and its state if it changed."""
        self._streams.feed_record(saved)
        if (saved.status, saved.waiting_for) != (before.status, before.waiting_for):
            text = _state_frame(saved)
            self._streams.feed_frame(saved.id, text)
            self._for(saved.id).state = text
        self._cache.expect(saved)
        self._put_later(saved)
        self._watchers.notify(saved)

    def expire(self, session_id: UUID, seconds: int) -> None:
        """Let the Redis keys of an ended session expire after `seconds`."""
        self._for(session_id).expire_s = seconds

    def waiting_bytes(self) -> int:
        """Return how many bytes of output and deltas wait to be sent to Redis."""
        return self._bytes

    # --- backlog

    def _for(self, session_id: UUID) -> _Waiting:
        waiting = self._waiting.get(session_id)
        if waiting is None:
            waiting = self._waiting[session_id] = _Waiting()
            self._due.append(session_id)
        if self._due and len(self._workers) < _WORKERS:
            number = next(each for each in range(_WORKERS) if each not in self._workers)
            self._workers.add(number)
            self._tasks.start(f"publisher-{number}", self._work(number))
        return waiting

    def _put_later(self, saved: Session) -> None:
        waiting = self._for(saved.id)
        if waiting.record is None and self._records >= _MAX_RECORDS:
            return  # the cache knows that it lacks this version, so readers use PostgreSQL
        self._records += waiting.record is None
        waiting.record = saved

    def _add(self, session_id: UUID, items: Sequence[str | Output]) -> None:
        self._for(session_id).items.extend(items)
        self._bytes += sum(map(_size, items))
        if self._bytes > _MAX_BYTES:
            for each, waiting in list(self._waiting.items()):
                self._drop_items(each, waiting)
                if self._bytes <= _MAX_BYTES:
                    return

    def _drop_items(self, session_id: UUID, waiting: _Waiting) -> None:
        """Drop the session's queued items; the tail then reads the lines from PostgreSQL."""
        last = max((item.seq for item in waiting.items if isinstance(item, Output)), default=0)
        self._bytes -= sum(map(_size, waiting.items))
        waiting.items.clear()
        if last:
            self._tails.catch_up(session_id, last)

    # --- workers

    async def _work(self, number: int) -> None:
        """Publish until no session has a backlog."""
        try:
            while self._due:
                session_id = self._due.popleft()
                waiting = self._waiting[session_id]
                try:
                    await self._publish(session_id, waiting)
                finally:
                    if waiting.items or waiting.state or waiting.record or waiting.expire_s is not None:
                        self._due.append(session_id)
                    else:
                        del self._waiting[session_id]
        finally:
            self._workers.discard(number)

    async def _publish(self, session_id: UUID, waiting: _Waiting) -> None:
        """Publish a part of the session's backlog. Failed items are not retried here."""
        if waiting.items and isinstance(waiting.items[0], str):
            await self._send_frame(session_id, str(self._next(waiting)))
        elif waiting.items:
            outputs: list[Output] = []
            size = 0
            while waiting.items and isinstance(waiting.items[0], Output) and size < _BATCH_BYTES:
                size += _size(waiting.items[0])
                outputs.append(cast("Output", self._next(waiting)))
            if not await self._tails.append(session_id, outputs) and waiting.nudge is not None:
                waiting.state = waiting.state or _state_frame(waiting.nudge)
        if waiting.items:
            return  # let the other sessions have their turn
        if (state := waiting.state) is not None:
            waiting.state = None
            await self._send_frame(session_id, state)
        if (record := waiting.record) is not None:
            waiting.record = None
            self._records -= 1
            await self._cache.saved(record)
        if (seconds := waiting.expire_s) is not None:
            waiting.expire_s = None
            await self._try(session_id, lambda: self._live.expire(session_id, seconds))

    def _next(self, waiting: _Waiting) -> str | Output:
        item = waiting.items.popleft()
        self._bytes -= _size(item)
        return item

    async def _send_frame(self, session_id: UUID, text: str) -> None:
        await self._try(session_id, lambda: self._live.publish(session_id, text))

    async def _try(self, session_id: UUID, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await self._redis.call(work, patience_s=REDIS_WRITE_S)
        except JelmoreError as error:
            _log.debug("not_published", session_id=str(session_id), error=str(error))


def _size(item: str | Output) -> int:
    return sys.getsizeof(item if isinstance(item, str) else item.text)


def _state_frame(session: Session) -> str:
    waiting_for = session.waiting_for and session.waiting_for.value
    return StateFrame(state=session.status.value, waiting_for=waiting_for).model_dump_json()
