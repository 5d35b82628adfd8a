"""Use of memory, processors, processes and disk by a session, and the warnings sent when a limit is near. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from jelmore.session.events import EventDraft, EventType


class Resource(StrEnum):
    """A limited resource."""

    MEMORY = "memory"
    PIDS = "pids"
    WORKSPACE = "workspace"
    PROCESSOR = "processor"
    OPEN_FILES = "open_files"


LEVELS: Final[Mapping[Resource, tuple[int, ...]]] = {
    Resource.MEMORY: (90,),
    Resource.PIDS: (90,),
    Resource.WORKSPACE: (80, 100),
    Resource.PROCESSOR: (90,),
    Resource.OPEN_FILES: (90,),
}
"""Percent of the limit at which a warning is sent, once while the use rises."""

BACK_BY: Final = 5
"""Use must fall this many percentage points below a level before the warning is sent again."""

OOM_EVERY_S: Final = 300.0
"""Processes that the kernel ends because memory is used up are reported at most this often, with their number."""

WORTH_KEEPING: Final = 0.05
"""The record is updated when the use changes by this part of the limit; the stored probes have every measurement."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement. None means unknown; a workspace limit of 0 means no limit."""

    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    workspace_bytes: int | None = None
    workspace_limit_bytes: int | None = None
    cpu_millis: int | None = None  # thousandths of a processor, since the measurement before
    cpu_sustained_millis: int | None = None  # the average of two minutes
    cpu_limit_millis: int | None = None
    oom_kills: int | None = None  # since the sandbox started
    open_files: int | None = None  # of the process that is nearest to its limit
    open_files_limit: int | None = None

    def of(self, resource: Resource) -> tuple[int | None, int | None]:
        """Return the use and the limit of one resource."""
        match resource:
            case Resource.MEMORY:
                return self.memory_bytes, self.memory_limit_bytes
            case Resource.PIDS:
                return self.pids, self.pids_limit
            case Resource.WORKSPACE:
                return self.workspace_bytes, self.workspace_limit_bytes
            case Resource.PROCESSOR:
                return self.cpu_sustained_millis, self.cpu_limit_millis
            case Resource.OPEN_FILES:
                return self.open_files, self.open_files_limit

    def percent(self, resource: Resource) -> float | None:
        """Return the use in percent of the limit; None when either is unknown or there is no limit."""
        used, limit = self.of(resource)
        return used * 100 / limit if used is not None and limit else None


@dataclass(frozen=True, slots=True)
class Resources:
    """The part of the record about resources: a recent measurement, and the last level warned about, by resource."""

    reading: Measurement = field(default_factory=Measurement)
    read_at: datetime | None = None
    warned: Mapping[str, int] = field(default_factory=dict)
    oom_kills: int = 0  # of the present sandbox, as far as they are reported
    oom_at: datetime | None = None  # when they were reported last


@dataclass(frozen=True, slots=True)
class Totals:
    """The total use of several sessions, according to their records."""

    memory_bytes: int = 0
    pids: int = 0
    workspace_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Lags:
    """How many seconds the oldest of what has to be done waits; 0 when nothing does."""

    outbox_s: float = 0.0  # an event to be published on NATS
    event_log_s: float = 0.0  # an event to get its position in the event log
    webhooks_s: float = 0.0  # a webhook that is due to be called


def judge(known: Resources, reading: Measurement, at: datetime) -> tuple[Resources, list[EventDraft]]:
    """Return the resources to record after a measurement, and the warnings; `known` itself if there is no change."""
    warned, drafts = dict(known.warned), []
    for resource, levels in LEVELS.items():
        percent = reading.percent(resource)
        if percent is None:
            continue
        before = warned.get(resource.value, 0)
        reached = max((level for level in levels if percent >= level), default=0)
        if reached > before:
            warned[resource.value] = reached
            drafts.append(_warning(resource, reached, reading, percent))
        elif before and percent < before - BACK_BY:
            warned[resource.value] = reached
    warned = {name: level for name, level in warned.items() if level}
    known, killed = _killed(known, reading, at)
    if warned == dict(known.warned) and not killed and not _moved(known.reading, reading):
        return known, []
    return replace(known, reading=reading, read_at=at, warned=warned), [*drafts, *killed]


def _killed(known: Resources, reading: Measurement, at: datetime) -> tuple[Resources, list[EventDraft]]:
    """Return the warning about processes that were killed since the last one. A lower count is of a new sandbox."""
    count, before = reading.oom_kills, known.oom_kills
    if count is None:
        return known, []
    if count < before:
        known, before = replace(known, oom_kills=0), 0
    waits = known.oom_at is not None and (at - known.oom_at).total_seconds() < OOM_EVERY_S
    if count == before or waits:
        return known, []
    numbers = {"level_percent": 100, "percent": 100.0, "used": count - before, "limit": reading.memory_limit_bytes}
    payload = {"resource": "out_of_memory", **numbers, "unit": "killed processes"}
    draft = EventDraft(EventType.SYSTEM_RESOURCE_WARNING, payload)
    return replace(known, oom_kills=count, oom_at=at), [draft]


_UNITS: Final = {
    Resource.PIDS: "processes",
    Resource.PROCESSOR: "thousandths of a processor",
    Resource.OPEN_FILES: "open files",
}


def _warning(resource: Resource, level: int, reading: Measurement, percent: float) -> EventDraft:
    used, limit = reading.of(resource)
    payload: dict[str, Any] = {
        "resource": resource.value,
        "level_percent": level,
        "percent": round(percent, 1),
        "used": used,
        "limit": limit,
        "unit": _UNITS.get(resource, "bytes"),
    }
    return EventDraft(EventType.SYSTEM_RESOURCE_WARNING, payload)


def _moved(before: Measurement, now: Measurement) -> bool:
    for resource in set(Resource) - {Resource.PROCESSOR}:  # it moves with every probe
        (was, old_limit), (used, limit) = before.of(resource), now.of(resource)
        if used is None:
            continue
        if was is None or limit != old_limit:
            return True
        whole = limit or max(was, 1)
        if abs(used - was) > whole * WORTH_KEEPING:
            return True
    return False
