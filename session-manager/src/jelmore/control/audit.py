"""The audit log: who did what, from where.

Requests do not wait for it: entries are written in batches within a second, also those of the time in which PostgreSQL
did not answer, up to a bound.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from jelmore.control.requests import Caller
from jelmore.ports.operator import AuditEntry, AuditQuery, OperatorStore
from jelmore.session.errors import DependencyError

_log = structlog.get_logger(__name__)

MAX_WAITING: Final = 10_000
_BATCH: Final = 500
_EVERY_S: Final = 0.5
_TRIM_EVERY: Final = 1200
"""Turns of the loop between two removals of old entries."""


class AuditLog:
    """Collects entries and writes them. Run it with `Tasks.keep`, and call `close` at the end."""

    def __init__(self, store: OperatorStore, *, keep_s: float) -> None:
        self._store = store
        self._keep_s = keep_s
        self._most = MAX_WAITING
        self._waiting: deque[AuditEntry] = deque(maxlen=self._most)
        self._writing = asyncio.Lock()
        self.dropped = 0

    def note(self, entry: AuditEntry) -> None:
        """Add an entry. When too many wait, the oldest is dropped and counted."""
        if len(self._waiting) == self._most:
            self.dropped += 1
        self._waiting.append(entry)

    async def run(self) -> None:
        """Write entries until cancelled. Raises DependencyError when PostgreSQL is unavailable; entries wait then."""
        while True:
            if self._keep_s:
                await self._store.trim_audit(self._keep_s)
            for _ in range(_TRIM_EVERY):
                await self.write()
                await asyncio.sleep(_EVERY_S)

    async def write(self) -> None:
        """Write what waits. After a failure the batch waits again; an entry may be written twice then."""
        async with self._writing:  # one at a time, so that the entries keep their order
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
                try:
                    await self._store.add_audit(batch)
                except DependencyError:
                    self._waiting.extendleft(reversed(batch[: self._most - len(self._waiting)]))
                    raise

    async def read(self, caller: Caller, query: AuditQuery) -> Sequence[AuditEntry]:
        """Return a page of the log, including what was noted before the call. Needs an admin key."""
        caller.check_admin()
        await self.write()
        return await self._store.audit(query)

    async def close(self) -> None:
        """Write what waits, if PostgreSQL answers."""
        try:
            await self.write()
        except DependencyError as error:
            _log.warning("audit_lost", entries=len(self._waiting), error=str(error))
