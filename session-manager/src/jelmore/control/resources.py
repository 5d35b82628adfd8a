"""Records the use of memory, processes and disk that probes measure, and warns once per level."""

from dataclasses import replace

import structlog

from jelmore.control.reconciler import Ports
from jelmore.control.watchers import Watchers
from jelmore.session.errors import JelmoreError, StaleError, UnknownSessionError
from jelmore.session.record import Session
from jelmore.session.resources import Measurement, judge
from jelmore_protocol.control import Health, WorkspaceLimit

_log = structlog.get_logger(__name__)


class ResourceKeeper:
    """Records measurements that runners report. The decisions are in `jelmore.session.resources`."""

    def __init__(self, ports: Ports, watchers: Watchers) -> None:
        self._ports = ports
        self._watchers = watchers

    async def take(self, session: Session, health: Health) -> None:
        """Record a measurement, warn of a crossed level, and send the runner its workspace limit if it has another one.

        May run any number of times: after a concurrent save it decides again from the newer record, so a level is
        reported once. Raises DependencyError when PostgreSQL is unavailable.
        """
        await self._limit(session, health)
        reading = measurement_of(health)
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
        """Send the workspace limit if it changed while the runner was paused or did not answer."""
        wanted = session.spec.limits.workspace_bytes
        if health.workspace_limit_bytes in {None, wanted}:  # None: the runner has no limits, or is not initialized
            return
        try:
            at = await self._ports.control_of(session)
            await self._ports.runners.limit_workspace(at, WorkspaceLimit(bytes=wanted))
        except JelmoreError as error:
            _log.warning("limit_not_told", session_id=str(session.id), error=str(error))


def measurement_of(health: Health) -> Measurement:
    """Return the measurement in a runner's health reply."""
    return Measurement(
        memory_bytes=health.memory_bytes,
        memory_limit_bytes=health.memory_limit_bytes,
        pids=health.pids,
        pids_limit=health.pids_limit,
        workspace_bytes=health.workspace_bytes,
        workspace_limit_bytes=health.workspace_limit_bytes,
    )
