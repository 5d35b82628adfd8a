"""Reads session records without SQL. PostgreSQL is written first and is read whenever the cache may be stale."""

import time
from collections import OrderedDict
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.breaker import CircuitBreaker
from jelmore.ports import Records, Store
from jelmore.session.errors import DependencyError
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

_MAX_STALE: Final = 10_000
_COPIES_LIVE_S: Final = 60.0


class RecordCache:
    """Reads the cache first; on a miss, reads PostgreSQL and fills the cache.

    While the cache may lack the newest version of a record, this manager reads PostgreSQL. Other managers may read the
    older version until this one has written the newer, or until cached copies expire (one minute).
    """

    def __init__(self, store: Store, records: Records, redis: CircuitBreaker) -> None:
        self._store = store
        self._records = records
        self._redis = redis
        self._stale: OrderedDict[UUID, tuple[int, float]] = OrderedDict()
        """By session: the version that the cache may lack, and when an older cached copy expires."""

        self.hits = 0
        self.misses = 0

    async def load(self, session_id: UUID) -> Session:
        """Return the session. Raises UnknownSessionError."""
        if session_id not in self._stale:
            try:
                kept = await self._redis.call(lambda: self._records.get(session_id))
            except DependencyError:
                return await self._store.load(session_id)
            if kept is not None and session_id not in self._stale:
                self.hits += 1
                return kept
        self.misses += 1
        session = await self._store.load(session_id)
        await self.saved(session)
        return session

    def expect(self, session: Session) -> None:
        """Read this session from PostgreSQL until the cache holds this version or a newer one."""
        self._mark_stale(session.id, session.version)

    async def saved(self, session: Session) -> None:
        """Cache a record that PostgreSQL holds. Waits for Redis for `READ_S` at most; raises nothing if Redis fails."""
        try:
            await self._redis.call(lambda: self._records.put(session))
        except DependencyError as error:
            self.expect(session)
            _log.debug("record_cache_behind", session_id=str(session.id), error=str(error))
        else:
            if self._stale.get(session.id, (0, 0.0))[0] <= session.version:
                self._stale.pop(session.id, None)

    async def forget(self, session_id: UUID) -> None:
        """Remove a record that PostgreSQL no longer holds."""
        try:
            await self._redis.call(lambda: self._records.drop(session_id))
        except DependencyError:
            self._mark_stale(session_id, 0)

    def _mark_stale(self, session_id: UUID, version: int) -> None:
        now = time.monotonic()
        while self._stale and (len(self._stale) > _MAX_STALE or next(iter(self._stale.values()))[1] < now):
            self._stale.popitem(last=False)
        version = max(version, self._stale.get(session_id, (0, 0.0))[0])
        self._stale[session_id] = (version, now + _COPIES_LIVE_S)
        self._stale.move_to_end(session_id)
