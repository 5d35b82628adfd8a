"""What the probes learn of a session's memory, processes and disk: kept in its record, told once per level."""

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
    """Takes in what runners say of their sizes. What it decides is in `jelmore.session.resources`."""

    def __init__(self, ports: Ports, watchers: Watchers) -> None:
        self._ports = ports
        self._watchers = watchers

    async def take(self, session: Session, health: Health) -> None:
        """Record a measurement, warn of a level that was crossed, mend a limit that the runner has not heard of.

        Any number of times: whoever writes the record meanwhile wins, and a level is told once, from the newer
        record. Raises DependencyError when PostgreSQL is away.
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
        """A limit changed while the runner was frozen or did not answer: tell it now."""
        wanted = session.spec.limits.workspace_bytes
        if health.workspace_limit_bytes in {None, wanted}:  # None: it does not know of limits, or is not open yet
            return
        try:
            at = await self._ports.control_of(session)
            await self._ports.runners.limit_workspace(at, WorkspaceLimit(bytes=wanted))
        except JelmoreError as error:
            _log.warning("limit_not_told", session_id=str(session.id), error=str(error))


def measurement_of(health: Health) -> Measurement:
    """Return the sizes in a runner's answer."""
    return Measurement(
        memory_bytes=health.memory_bytes,
        memory_limit_bytes=health.memory_limit_bytes,
        pids=health.pids,
        pids_limit=health.pids_limit,
        workspace_bytes=health.workspace_bytes,
        workspace_limit_bytes=health.workspace_limit_bytes,
    )
