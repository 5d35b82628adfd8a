"""Records the use of memory, processes and disk that probes measure, and warns once per level."""

from dataclasses import replace

import structlog

from jelmore.control.live_limits import send_limits, stale_limits
from jelmore.control.ports import Ports
from jelmore.control.watchers import Watchers
from jelmore.session.errors import JelmoreError, StaleError, UnknownSessionError
from jelmore.session.processor import ProcessorUse
from jelmore.session.record import Session
from jelmore.session.resources import Measurement, judge
from jelmore_protocol.control import Health

_log = structlog.get_logger(__name__)


class ResourceKeeper:
    """Records measurements that runners report. The decisions are in `jelmore.session.resources`."""

    def __init__(self, ports: Ports, watchers: Watchers) -> None:
        self._ports = ports
        self._watchers = watchers

    async def take(self, session: Session, health: Health, reading: Measurement) -> None:
        """Record a measurement, warn of a crossed level, and send the runner its limits if it has others.

        May run any number of times: after a concurrent save it decides again from the newer record, so a level is
        reported once. Raises DependencyError when PostgreSQL is unavailable.
        """
        await self._limit(session, health)
        while not session.ended:
            resources, drafts = judge(session.resources, reading, self._ports.clock.now())
            if resources is session.resources:
                return
            try:
                saved = await self._ports.store.save(replace(session, resources=resources), drafts)
            except StaleError:
                try:
                    session = await self._ports.store.load(session.id)
                except UnknownSessionError:
                    return
                continue
            await self._watchers.saved(saved)
            for draft in drafts:
                _log.warning("resource_short", session_id=str(session.id), **draft.payload)
            return

    async def _limit(self, session: Session, health: Health) -> None:
        """Send limits that changed while the runner was paused or did not answer."""
        stale = stale_limits(session.spec.limits, health)
        if not stale:
            return
        try:
            at = await self._ports.control_of(session)
            await send_limits(self._ports.runners, at, session.spec.limits, stale)
        except JelmoreError as error:
            _log.warning("limit_not_sent", session_id=str(session.id), error=str(error))


def measurement_of(health: Health, processor: ProcessorUse | None = None) -> Measurement:
    """Return the measurement in a runner's health reply, with the use of processors if that is known."""
    return Measurement(
        memory_bytes=health.memory_bytes,
        memory_limit_bytes=health.memory_limit_bytes,
        pids=health.pids,
        pids_limit=health.pids_limit,
        workspace_bytes=health.workspace_bytes,
        workspace_limit_bytes=health.workspace_limit_bytes,
        cpu_millis=processor.latest_millis if processor else None,
        cpu_sustained_millis=processor.sustained_millis if processor else None,
        cpu_limit_millis=health.cpu_limit_millis,
        oom_kills=health.oom_kills,
        open_files=health.open_files,
        open_files_limit=health.open_files_limit,
    )
