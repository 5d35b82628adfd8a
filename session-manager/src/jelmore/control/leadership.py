"""Runs a loop on one manager at a time: the one that holds its lease."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from jelmore.ports import Leases

_MARGIN_S: Final = 15.0


class LeaderTask:
    """A loop that one manager runs at a time. Calls `body` every `every_s` seconds while this manager holds the lease.

    Another manager takes over when the lease expires: at most `every_s` + 15 seconds after the last renewal. A body
    must be safe to run twice, so that a holder that loses its lease during one does no harm.
    """

    def __init__(self, name: str, body: Callable[[], Awaitable[object]], leases: Leases, *, every_s: float) -> None:
        self.name = name
        self._body = body
        self._leases = leases
        self._every_s = every_s
        self.holding = False
        self.last_run: float | None = None

    async def run(self) -> None:
        """Run until cancelled. Raises DependencyError when the database is unavailable."""
        try:
            while True:
                self.holding = bool(await self._leases.take([f"loop/{self.name}"], self._every_s + _MARGIN_S))
                if self.holding:
                    await self._body()
                    self.last_run = time.monotonic()
                await asyncio.sleep(self._every_s)
        finally:
            self.holding = False
