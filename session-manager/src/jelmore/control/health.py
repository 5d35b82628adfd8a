"""Health of this manager: checks every dependency with a deadline and reports the state of every loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from jelmore.control.disk_capacity import DiskCapacity
from jelmore.session.errors import JelmoreError

_DEADLINE_S: Final = 3.0
_CACHE_S: Final = 1.0

NEEDED: Final = frozenset({"postgres", "sandboxes"})
"""Without these no session can start: the status is down (503). Without others it is degraded."""


class Health:
    """The state of this manager and its dependencies."""

    def __init__(
        self,
        checks: Mapping[str, Callable[[], Awaitable[None]]],
        loops: Callable[[], Mapping[str, Any]],
        disk: DiskCapacity,
        *,
        version: str,
    ) -> None:
        self._checks = {**checks, "disk": disk.check}
        self._loops = loops
        self._disk = disk
        self._version = version
        self._report: tuple[float, dict[str, Any]] | None = None
        self._lock = asyncio.Lock()
        self.ready = asyncio.Event()
        """Set while this manager serves requests: it has reconciled every session once, and is not closing."""

    def loops(self) -> dict[str, Any]:
        """Return the state that each loop of this manager reports."""
        return dict(self._loops())

    async def report(self) -> Mapping[str, Any]:
        """Return `status` (ok, degraded or down) and the results of checks and loops. At most one second old."""
        async with self._lock:
            if self._report is not None and self._report[0] > time.monotonic():
                return self._report[1]
            names = list(self._checks)
            results = await asyncio.gather(*(self._ask(self._checks[name]) for name in names))
            checks = dict(zip(names, results, strict=True))
            failed = {name for name, check in checks.items() if check["status"] != "ok"}
            loops = self.loops()
            status = "down" if failed & NEEDED else "degraded" if failed or not self.ready.is_set() else "ok"
            report = {
                "status": status,
                "degraded": sorted(failed),
                "version": self._version,
                "checks": checks,
                "loops": loops,
                "disk": dict(await self._disk.to_mapping()),
            }
            self._report = (time.monotonic() + _CACHE_S, report)
            return report

    async def _ask(self, check: Callable[[], Awaitable[None]]) -> dict[str, Any]:
        began = time.monotonic()
        status, message = "ok", ""
        try:
            async with asyncio.timeout(_DEADLINE_S):
                await check()
        except TimeoutError:
            status, message = "failed", f"no answer within {_DEADLINE_S:g} s"
        except JelmoreError as error:
            status, message = "failed", str(error)
        latency_ms = round((time.monotonic() - began) * 1000, 1)
        return {"status": status, "message": message, "latency_ms": latency_ms}
