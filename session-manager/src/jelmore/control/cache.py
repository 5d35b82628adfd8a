"""Reads of a record that need no SQL. PostgreSQL is written first, and settles every doubt."""

from typing import Final
from uuid import UUID

import structlog

from jelmore.ports import Records, Store
from jelmore.session.errors import DependencyError
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

_MOST_UNSURE: Final = 10_000


class RecordCache:
    """Cache first, repopulated from PostgreSQL on a miss.

    A record that could not be written to the cache is marked unsure and read from PostgreSQL until the old copy is
    known to be gone; another manager may see the old one for as long as copies live (a minute).
    """

    def __init__(self, store: Store, records: Records) -> None:
        self._store = store
        self._records = records
        self._unsure: set[UUID] = set()
        self.hits = 0
        self.misses = 0

    async def load(self, session_id: UUID) -> Session:
        """Return the session. Raises UnknownSessionError."""
        try:
            if session_id in self._unsure:
                await self._records.drop(session_id)
                self._unsure.discard(session_id)
            elif (kept := await self._records.get(session_id)) is not None:
                self.hits += 1
                return kept
        except DependencyError:
            return await self._store.load(session_id)
        self.misses += 1
        session = await self._store.load(session_id)
        await self.saved(session)
        return session

    async def saved(self, session: Session) -> None:
        """Keep what PostgreSQL holds now. Never raises: the cache may lag, the truth does not."""
        try:
            await self._records.put(session)
        except DependencyError as error:
            self._doubt(session.id)
            _log.debug("record_cache_behind", session_id=str(session.id), error=str(error))

    async def forget(self, session_id: UUID) -> None:
        """Drop a record that PostgreSQL no longer holds."""
        try:
            await self._records.drop(session_id)
        except DependencyError:
            self._doubt(session_id)

    def _doubt(self, session_id: UUID) -> None:
        if len(self._unsure) < _MOST_UNSURE:  # beyond that, copies end by themselves within a minute
            self._unsure.add(session_id)
