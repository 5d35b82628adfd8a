"""Warns of a disk of the host that becomes full: below the floor, no session can start."""

from typing import Any, Final

import structlog

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.ports import Store
from jelmore.session.events import EventDraft, EventType

_log = structlog.get_logger(__name__)

LEVELS: Final = (80, 100)
"""The floor in percent of what is free: at 100, creates are refused."""

BACK_BY: Final = 5


class DiskWatch:
    """Reports each level once while the free disk shrinks. Another manager that takes over reports it once more."""

    def __init__(self, store: Store, disk: DiskCapacity) -> None:
        self._store = store
        self._disk = disk
        self._warned = 0

    async def check(self) -> None:
        """Look at the disk once. Raises DependencyError when PostgreSQL is unavailable."""
        seen = await self._disk.to_mapping()
        free, floor = seen["free_bytes"], seen["floor_bytes"]
        if free is None or not floor:
            return
        percent = round(floor * 100 / max(free, 1), 1)
        reached = max((level for level in LEVELS if percent >= level), default=0)
        if reached > self._warned:
            payload = _payload(reached, percent, free, floor)
            await self._store.note(EventDraft(EventType.SYSTEM_RESOURCE_WARNING, payload))
            _log.warning("disk_short", free_bytes=free, floor_bytes=floor)
            self._warned = reached
        elif self._warned and percent < self._warned - BACK_BY:
            self._warned = reached


def _payload(level: int, percent: float, free: int, floor: int) -> dict[str, Any]:
    numbers = {"level_percent": level, "percent": min(percent, 1000.0), "used": None, "limit": floor}
    return {"resource": "disk", **numbers, "unit": "bytes", "free": free}
