"""The sweep: what carries our labels but belongs to no session is found, named and removed.

The failure it exists for: a manager that died between two steps, or a record that was restored from a backup, leaves
containers, routes, keys and volumes that no session will ever ask about. The reconciler looks from records to the
world; only the sweep looks from the world to records. Unknown things are left alone for a grace period first, from
when they were first seen: it may be the records that are wrong (another database, an older backup). What they hold of
somebody's work, the volume, is kept as long as an ended session's.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog

from jelmore.control.reconciler import Ports
from jelmore.ports import Leftover
from jelmore.session.errors import ConflictError, DependencyError, JelmoreError
from jelmore.session.events import EventDraft, EventType

_log = structlog.get_logger(__name__)

_WINDING_DOWN_S: Final = 60.0
_LEFT_S: Final = 300.0
"""Longer than a start takes: what is being made looks like a leftover."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing the sweep found. `action` is removed, kept (in quarantine) or failed."""

    kind: str
    name: str
    why: str
    action: str


@dataclass(slots=True)
class Report:
    """What one sweep found and did; with `dry_run`, what it would have done."""

    dry_run: bool
    entries: list[Entry] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    duration_s: float = 0.0

    def to_mapping(self) -> dict[str, Any]:
        """Return it as the API shows it."""
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
    """How long things are kept; 0 keeps them for ever. `quarantine_s` is the grace of unknown things but volumes."""

    quarantine_s: float
    workspace_s: float
    record_s: float


class Sweeper:
    """Finds what no session owns. One sweep at a time; the loop and the operator's call share it."""

    def __init__(self, ports: Ports, enqueue: Callable[[UUID], None], retention: Retention) -> None:
        self._ports = ports
        self._enqueue = enqueue
        self._retention = retention
        self._lock = asyncio.Lock()
        self._first_seen: dict[tuple[str, str], float] = {}
        self._seen: dict[tuple[str, str], float] = {}
        self.last_report: Report | None = None

    async def sweep(self, *, dry_run: bool) -> Report:
        """Look at everything once. Parts whose dependency is away are named in `skipped`, not guessed at."""
        async with self._lock:
            began, report = time.monotonic(), Report(dry_run)
            self._first_seen, self._seen = self._seen, {}  # what has gone meanwhile is forgotten
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
        """Every unfinished session deserves a look, should its trigger have been lost."""
        for session_id in await self._ports.store.unfinished():
            if not report.dry_run:
                self._enqueue(session_id)

    async def _containers(self, report: Report) -> None:
        everything = await self._ports.sandboxes.found()
        known = await self._ports.store.load_many([found.session_id for found in everything])
        newest: dict[UUID, int] = {}
        for found in everything:
            newest[found.session_id] = max(newest.get(found.session_id, 0), found.sandbox.generation)
        for found in everything:
            session, sandbox = known.get(found.session_id), found.sandbox
            if sandbox.generation < newest[found.session_id]:
                why, early = f"generation {newest[found.session_id]} has taken its place", False
            elif session is None:
                why, early = "no session has this id", self._new("container", sandbox.id, self._retention.quarantine_s)
            elif session.ended:  # one that has only just ended is still being taken down in order
                since, why = session.ended_at or session.since, f"its session is {session.status.value}"
                early = (self._ports.clock.now() - since).total_seconds() < _WINDING_DOWN_S
                if early and not report.dry_run:
                    self._enqueue(session.id)
            else:
                continue
            name = str(found.session_id)
            await self._remove(report, "container", name, why, self._removal(sandbox.id), quarantined=early)

    def _removal(self, sandbox_id: str) -> Callable[[], Awaitable[None]]:
        """Return the removal of the sandbox that was found; a resumed session's has another id."""
        return lambda: self._ports.sandboxes.remove(sandbox_id)

    async def _routes(self, report: Report) -> None:
        routes = await self._ports.edge.routes()
        known = await self._ports.store.load_many(routes)
        for session_id in routes:
            session = known.get(session_id)
            if session is None or session.ended:
                why = "no session has this id" if session is None else f"its session is {session.status.value}"
                early = session is None and self._new("route", str(session_id), self._retention.quarantine_s)
                await self._remove_of(report, "route", session_id, why, self._ports.edge.withdraw, quarantined=early)

    async def _leftovers(self, report: Report) -> None:
        """What a removal or a crash left behind, and what cannot be read."""
        for left in await self._ports.sandboxes.leftovers():
            early = not left.removable or self._new(left.kind, left.name, _LEFT_S)
            await self._remove(report, left.kind, left.name, left.why, self._clearing(left), quarantined=early)

    def _clearing(self, left: Leftover) -> Callable[[], Awaitable[None]]:
        return lambda: self._ports.sandboxes.clear(left)

    async def _volumes(self, report: Report) -> None:
        kept_s, now = self._retention.workspace_s, self._ports.clock.now()
        volumes = await self._ports.sandboxes.kept()
        known = await self._ports.store.load_many(volumes)
        for session_id in volumes:
            session = known.get(session_id)
            if session is None:
                quarantined = not kept_s or self._new("volume", str(session_id), kept_s)
                why = "no session has this id"
            elif session.ended_at is not None and kept_s and now - session.ended_at >= timedelta(seconds=kept_s):
                quarantined, why = False, f"its session ended more than {kept_s:g} s ago"
            else:
                continue
            await self._remove_of(report, "volume", session_id, why, self._erase, quarantined=quarantined)

    async def _erase(self, session_id: UUID) -> None:
        """Erase a workspace, unless its session was resumed since this sweep looked."""
        session = (await self._ports.store.load_many([session_id])).get(session_id)
        if session is not None and not session.ended:
            raise ConflictError("its session goes on")
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
            if session_id not in kept:  # the workspace goes first: without a record nobody would know whose it is
                why = f"it ended more than {self._retention.record_s:g} s ago"
                await self._remove_of(report, "record", session_id, why, self._ports.store.forget)

    def _new(self, kind: str, name: str, seconds: float) -> bool:
        """Return whether this process first saw this thing less than that long ago."""
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
            except JelmoreError as error:  # one thing that cannot go, yet or at all, must not shield the others
                action, why = "failed", f"{why}; {error}"
        report.entries.append(Entry(kind, name, why, action))
