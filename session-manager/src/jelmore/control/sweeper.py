"""The sweep: finds, reports and removes objects with Jelmore's labels that belong to no session.

The failure that it handles: after a manager crashed between two steps, or a backup of the database was restored,
containers, routes, keys and volumes remain that no session uses. The reconciler goes from records to the world; only
the sweep goes from the world to records. Unknown objects are kept for a grace period after they are first seen,
because the records may be wrong (another database, an older backup). Unknown volumes hold work, so they are kept as
long as those of ended sessions.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore.control.ports import Ports
from jelmore.ports import Leftover
from jelmore.session.errors import ConflictError, DependencyError, JelmoreError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.record import Session

_log = structlog.get_logger(__name__)

_WINDING_DOWN_S: Final = 60.0
_LEFT_S: Final = 300.0
"""Longer than a start takes, because objects that are being created look like leftovers."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object that the sweep found. `action` is removed, kept (in quarantine) or failed."""

    kind: str
    name: str
    why: str
    action: str


@dataclass(slots=True)
class Report:
    """What one sweep found and did; with `dry_run`, what it would do."""

    dry_run: bool
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    duration_s: float = 0.0

    def to_mapping(self) -> dict[str, Any]:
        """Return the report as the API presents it."""
        removed: dict[str, int] = {}
        for entry in self.entries:
            if entry.action == "removed":
                removed[entry.kind] = removed.get(entry.kind, 0) + 1
        return {
            "dry_run": self.dry_run,
            "removed": removed,
            "entries": [asdict(entry) for entry in self.entries],
            "skipped": self.skipped,
            "duration_s": round(self.duration_s, 3),
        }


@dataclass(frozen=True, slots=True)
class Retention:
    """How long objects are kept. `quarantine_s` is for unknown objects except volumes; 0 keeps the others for good."""

    quarantine_s: float
    workspace_s: float
    record_s: float


async def none_reserved() -> Collection[UUID]:
    """Return no id: no sandbox is started ahead of its session."""
    return ()


class Sweeper:
    """Finds objects that no session owns. Runs one sweep at a time, for the loop and for API calls.

    `reserved` returns the ids of sessions that do not exist yet and whose sandboxes are kept for them. An id must be
    reserved before its sandbox is started, and until its session is stored.
    """

    def __init__(
        self,
        ports: Ports,
        enqueue: Callable[[UUID], None],
        retention: Retention,
        reserved: Callable[[], Awaitable[Collection[UUID]]] = none_reserved,
    ) -> None:
        self._ports = ports
        self._reserved = reserved
        self._enqueue = enqueue
        self._retention = retention
        self._lock = asyncio.Lock()
        self._first_seen: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], float] = {}
        self.last_report: Report | None = None

    async def sweep(self, *, dry_run: bool) -> Report:
        """Run one sweep and return its report. Parts whose dependency is unavailable are listed in `skipped`."""
        async with self._lock:
            began, report = time.monotonic(), Report(dry_run)
            self._first_seen, self._seen = self._seen, {}  # forget objects that no longer exist
            for name, part in (
                ("sessions", self._sessions),
                ("containers", self._containers),
                ("routes", self._routes),
                ("leftovers", self._leftovers),
                ("volumes", self._volumes),
                ("streams", self._streams),
                ("records", self._records),
            ):
                try:
                    await part(report)
                except DependencyError as error:
                    report.skipped.append(f"{name}: {error}")
            report.duration_s = time.monotonic() - began
            self.last_report = report
            if not dry_run and any(entry.action == "removed" for entry in report.entries):
                summary = report.to_mapping()
                _log.info("swept", removed=summary["removed"], duration_s=summary["duration_s"])
                await self._ports.store.note(EventDraft(EventType.SYSTEM_CLEANUP, {"removed": summary["removed"]}))
            return report

    async def _sessions(self, report: Report) -> None:
        """Enqueue every session that has not ended, in case a trigger was lost."""
        for session_id in await self._ports.store.unfinished():
            if not report.dry_run:
                self._enqueue(session_id)

    async def _containers(self, report: Report) -> None:
        everything = await self._ports.sandboxes.found()
        known, reserved = await self._owners([found.session_id for found in everything])
        newest: dict[UUID, int] = {}
        for found in everything:
            newest[found.session_id] = max(newest.get(found.session_id, 0), found.sandbox.generation)
        for found in everything:
            session, sandbox = known.get(found.session_id), found.sandbox
            if sandbox.generation < newest[found.session_id]:
                why, early = f"generation {newest[found.session_id]} has taken its place", False
            elif found.session_id in reserved:
                continue
            elif session is None:
                why, early = "no session has this id", self._new("container", sandbox.id, self._retention.quarantine_s)
            elif session.ended:  # the sandbox of a session that has just ended is still being removed by the reconciler
                since, why = session.ended_at or session.since, f"its session is {session.status.value}"
                early = (self._ports.clock.now() - since).total_seconds() < _WINDING_DOWN_S
                if early and not report.dry_run:
                    self._enqueue(session.id)
            else:
                continue
            name = str(found.session_id)
            await self._remove(report, "container", name, why, self._removal(sandbox.id), quarantined=early)

    def _removal(self, sandbox_id: str) -> Callable[[], Awaitable[None]]:
        """Return the removal of this sandbox, by id: a session resumed meanwhile has another sandbox."""
        return lambda: self._ports.sandboxes.remove(sandbox_id)

    async def _routes(self, report: Report) -> None:
        routes = await self._ports.edge.routes()
        known, reserved = await self._owners(routes)
        for session_id in routes:
            session = known.get(session_id)
            if session_id not in reserved and (session is None or session.ended):
                why = "no session has this id" if session is None else f"its session is {session.status.value}"
                early = session is None and self._new("route", str(session_id), self._retention.quarantine_s)
                await self._remove_of(report, "route", session_id, why, self._withdraw, quarantined=early)

    async def _withdraw(self, session_id: UUID) -> None:
        """Withdraw a route. Raises ConflictError when its session was resumed since the sweep loaded it.

        If it is resumed in this moment, its next pass publishes the route again.
        """
        await self._refuse_live(session_id)
        await self._ports.edge.withdraw(session_id)
        self._enqueue(session_id)

    async def _refuse_live(self, session_id: UUID) -> None:
        session = (await self._ports.store.load_many([session_id])).get(session_id)
        if session is not None and not session.ended:
            raise ConflictError("its session continues")

    async def _leftovers(self, report: Report) -> None:
        """Remove what a removal or a crash left behind; report what cannot be parsed."""
        for left in await self._ports.sandboxes.leftovers():
            early = not left.removable or self._new(left.kind, left.name, _LEFT_S)
            await self._remove(report, left.kind, left.name, left.why, self._clearing(left), quarantined=early)

    def _clearing(self, left: Leftover) -> Callable[[], Awaitable[None]]:
        return lambda: self._ports.sandboxes.clear(left)

    async def _volumes(self, report: Report) -> None:
        kept_s, now = self._retention.workspace_s, self._ports.clock.now()
        volumes = await self._ports.sandboxes.kept()
        known, reserved = await self._owners(volumes)
        for session_id in volumes:
            session = known.get(session_id)
            if session_id in reserved:
                continue
            if session is None:
                quarantined = not kept_s or self._new("volume", str(session_id), kept_s)
                why = "no session has this id"
            elif session.ended_at is not None and kept_s and now - session.ended_at >= timedelta(seconds=kept_s):
                quarantined, why = False, f"its session ended more than {kept_s:g} s ago"
            else:
                continue
            await self._remove_of(report, "volume", session_id, why, self._erase, quarantined=quarantined)

    async def _owners(self, ids: Sequence[UUID]) -> tuple[Mapping[UUID, Session], Collection[UUID]]:
        """Return the sessions with these ids, and the reserved ids.

        Reserved ids are read first: an id that is claimed in between is then found as reserved or as a session.
        """
        reserved = await self._reserved()
        known = await self._ports.store.load_many(ids)
        return known, {each for each in reserved if each not in known}

    async def _erase(self, session_id: UUID) -> None:
        """Erase a workspace. Raises ConflictError when its session was resumed since the sweep loaded it."""
        await self._refuse_live(session_id)
        await self._ports.sandboxes.erase(session_id)

    async def _streams(self, report: Report) -> None:
        streams = await self._ports.live.known()
        known = await self._ports.store.load_many(streams)
        for session_id in streams:
            if session_id not in known:
                early = self._new("stream", str(session_id), self._retention.quarantine_s)
                why = "no session has this id"
                await self._remove_of(report, "stream", session_id, why, self._ports.live.forget, quarantined=early)

    async def _records(self, report: Report) -> None:
        if not self._retention.record_s:
            return
        before = self._ports.clock.now() - timedelta(seconds=self._retention.record_s)
        kept = set(await self._ports.sandboxes.kept())
        for session_id in await self._ports.store.expired(before):
            if session_id not in kept:  # keep the record until the volume is gone: only the record names the owner
                why = f"it ended more than {self._retention.record_s:g} s ago"
                await self._remove_of(report, "record", session_id, why, self._ports.store.forget)

    def _new(self, kind: str, name: str, seconds: float) -> bool:
        """Return whether this process first saw the object less than `seconds` ago."""
        first = self._seen[kind, name] = self._first_seen.get((kind, name), time.monotonic())
        return time.monotonic() - first < seconds

    async def _remove_of(
        self,
        report: Report,
        kind: str,
        session_id: UUID,
        why: str,
        remove: Callable[[UUID], Awaitable[None]],
        *,
        quarantined: bool = False,
    ) -> None:
        await self._remove(report, kind, str(session_id), why, lambda: remove(session_id), quarantined=quarantined)

    async def _remove(
        self,
        report: Report,
        kind: str,
        name: str,
        why: str,
        remove: Callable[[], Awaitable[None]],
        *,
        quarantined: bool = False,
    ) -> None:
        action = "kept" if quarantined else "removed"
        if action == "removed" and not report.dry_run:
            try:
                await remove()
            except JelmoreError as error:  # an object that cannot be removed must not block the others
                action, why = "failed", f"{why}; {error}"
        report.entries.append(Entry(kind, name, why, action))
