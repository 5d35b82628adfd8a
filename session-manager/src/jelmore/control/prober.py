"""Regular health probes of all awake sessions: concurrent calls to their runners, each with a deadline.

The reply also reports the session's use of memory, processors, processes and disk.
"""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog

from jelmore.control.ports import Ports
from jelmore.control.resources import ResourceKeeper, measurement_of
from jelmore.ports import Probe
from jelmore.session.errors import JelmoreError, UnknownSessionError
from jelmore.session.processor import ProcessorSample, ProcessorUse
from jelmore.session.record import Session
from jelmore.session.resources import Measurement
from jelmore.session.states import ContainerPhase, Presence
from jelmore_protocol.control import Health

_log = structlog.get_logger(__name__)

_AT_ONCE: Final = 20


class Prober:
    """Probes sessions and counts consecutive failures. The reconciler decides what follows from them."""

    def __init__(
        self,
        ports: Ports,
        enqueue: Callable[[UUID], None],
        resources: ResourceKeeper,
        *,
        grace_s: float,
        tolerated: int,
    ) -> None:
        self._ports = ports
        self._enqueue = enqueue
        self._resources = resources
        self._grace = timedelta(seconds=grace_s)
        self._tolerated = tolerated
        self._failed: dict[UUID, int] = {}
        self._used: dict[UUID, ProcessorUse] = {}
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    def failed(self, session_id: UUID) -> int:
        """Return the number of consecutive probes that the session has failed."""
        return self._failed.get(session_id, 0)

    async def probe_all(self) -> None:
        """Probe every session that is due. Raises DependencyError when PostgreSQL is unavailable."""
        ids = await self._ports.store.unfinished()
        for gone in self._failed.keys() - set(ids):
            del self._failed[gone]
        for gone in self._used.keys() - set(ids):
            del self._used[gone]
        await asyncio.gather(*(self._probe(session_id) for session_id in ids))

    async def _probe(self, session_id: UUID) -> None:
        async with self._at_once:
            try:
                session = await self._ports.store.load(session_id)
            except UnknownSessionError:
                return
            if not self._due(session):
                self._failed.pop(session_id, None)
                return
            probe, health = await self._ask(session)
            await self._ports.store.probe(session_id, probe)
            if probe.healthy and health is not None:
                await self._resources.take(session, health, probe.reading)
                self._failed.pop(session_id, None)
                return
            self._failed[session_id] = self.failed(session_id) + 1
            _log.warning("probe_failed", session_id=str(session_id), count=self.failed(session_id), why=probe.message)
            if self.failed(session_id) >= self._tolerated:
                self._enqueue(session_id)

    def _processor(self, session_id: UUID, health: Health) -> ProcessorUse | None:
        """Return the use of processors with this reply. It begins again on another manager, and after a pause."""
        if health.cpu_us is None:
            return None
        sample = ProcessorSample(self._ports.clock.now(), health.generation, health.cpu_us)
        self._used[session_id] = self._used.get(session_id, ProcessorUse()).after(sample)
        return self._used[session_id]

    def _due(self, session: Session) -> bool:
        awake = session.presence is Presence.AWAKE and session.container_phase is ContainerPhase.SERVING
        since = max(session.created_at, session.restarted_at or session.created_at)
        return awake and self._ports.clock.now() - since >= self._grace

    async def _ask(self, session: Session) -> tuple[Probe, Health | None]:
        now, began, health = self._ports.clock.now(), time.monotonic(), None
        try:
            health = await self._ports.runners.health(await self._ports.control_of(session))
            healthy = health.generation == session.generation
            message = "" if healthy else f"generation {health.generation} answers for {session.generation}"
        except JelmoreError as error:
            healthy, message = False, str(error)
        latency_ms = round((time.monotonic() - began) * 1000, 2)
        reading = Measurement() if health is None else measurement_of(health, self._processor(session.id, health))
        return Probe(now, healthy, latency_ms, message, reading), health
