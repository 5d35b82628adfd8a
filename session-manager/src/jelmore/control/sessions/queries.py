"""Reads of sessions. Each one checks what its caller may see."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Final
from uuid import UUID

from jelmore.control.cache import RecordCache
from jelmore.control.disk_capacity import DiskCapacity
from jelmore.control.outcomes import Outcomes
from jelmore.control.pool import WarmPool
from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.session_spec import Defaults
from jelmore.control.stats import Stats
from jelmore.ports import ListQuery, Page, Probe, StoredEvent
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore_protocol.events import Pending

MAX_PAGE_BYTES: Final = 2 * 1024 * 1024
"""Limit of the stored lines in one response: the manager parses and serializes them, at many times their size."""


class SessionQueries:
    """Reads of sessions. None of them changes anything or calls a runner."""

    def __init__(
        self,
        ports: Ports,
        cache: RecordCache,
        outcomes: Outcomes,
        defaults: Defaults,
        *,
        disk: DiskCapacity,
        pool: WarmPool | None = None,
    ) -> None:
        self._ports = ports
        self._cache = cache
        self._outcomes = outcomes
        self._defaults = defaults
        self._disk = disk
        self._pool = pool

    async def get(self, caller: Caller, session_id: UUID) -> Session:
        """Return the session. Raises UnknownSessionError, also for a session of another client."""
        return caller.sees(await self._cache.load(session_id))

    async def list(self, caller: Caller, query: ListQuery) -> tuple[Page[Session], int]:
        """Return a page of the sessions that the caller may see, and the number of matches on all pages."""
        return await self._ports.store.list(replace(query, owner=caller.sees_only))

    async def stats(self, caller: Caller) -> Stats:
        """Return counts by status of the sessions that the caller may see, and their use."""
        store, owner = self._ports.store, caller.sees_only
        return Stats(
            by_status=await store.stats(owner),
            slots_used=await store.slots_used(),
            slots_total=self._defaults.most_live,
            totals=await store.totals(owner),
            system=await self._system() if owner is None else {},
        )

    async def _system(self) -> Mapping[str, Any]:
        return {
            "disk": dict(await self._disk.to_mapping()),
            "outbox": {"waiting": await self._ports.store.waiting_events()},
            "lags": asdict(await self._ports.store.lags()),
            **({"pool": dict(await self._pool.stats())} if self._pool is not None else {}),
        }

    async def output(
        self, caller: Caller, session_id: UUID, after: int, limit: int, kinds: Sequence[str]
    ) -> Page[Output]:
        """Return stored output after a seq: at most `MAX_PAGE_BYTES`, or one line if it is larger."""
        await self.get(caller, session_id)
        return await self._ports.store.output(session_id, after, limit, kinds, max_bytes=MAX_PAGE_BYTES)

    async def events(
        self, caller: Caller, session_id: UUID, after: int, limit: int, types: Sequence[str]
    ) -> Page[StoredEvent]:
        """Return stored events after a seq, limited as in `output`."""
        await self.get(caller, session_id)
        return await self._ports.store.events(session_id, after, limit, types, max_bytes=MAX_PAGE_BYTES)

    async def probes(self, caller: Caller, session_id: UUID) -> Sequence[Probe]:
        """Return the stored health checks, newest first."""
        await self.get(caller, session_id)
        return await self._ports.store.probes(session_id)

    async def log_tail(self, caller: Caller, session_id: UUID, lines: int) -> tuple[str, ...]:
        """Return the last lines that the runner printed; for a failed session, those stored with the failure."""
        session = await self.get(caller, session_id)
        sandbox = await self._ports.sandboxes.observe(session_id)
        printed = await self._ports.sandboxes.log_tail(sandbox.id, lines) if sandbox is not None else ()
        return printed or (session.failure.log_tail if session.failure else ())

    async def permissions(self, caller: Caller, session_id: UUID) -> Sequence[Pending]:
        """Return the pending permissions and questions."""
        session = await self.get(caller, session_id)
        return [Pending.model_validate(prompt) for prompt in session.pending]

    async def reflected(self, session_id: UUID, seq: int) -> None:
        """Return once reads of the session include its output up to `seq`, after two seconds at the latest."""
        await self._outcomes.reflected(session_id, seq)
