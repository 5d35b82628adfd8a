"""Runs a loop on one of several managers at a time: the one that holds its lease."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final

from jelmore.ports import Leases

_MARGIN_S: Final = 15.0


class LeaderTask:
    """A loop that one manager runs at a time. `body` is called every `every_s` while the lease is ours.

    The next holder takes over when the lease has run out: at the latest `every_s` and 15 seconds after the last
    renewal. Bodies are safe to run twice, so a holder that lost its lease in mid-body does no harm.
    """

    def __init__(self, name: str, body: Callable[[], Awaitable[object]], leases: Leases, *, every_s: float) -> None:
        self._name = f"loop/{name}"
        self._body = body
        self._leases = leases
        self._every_s = every_s
        self.holding = False
        self.last_run: float | None = None

    async def run(self) -> None:
        """Run for ever. Raises DependencyError when the database is away."""
        try:
            while True:
                self.holding = bool(await self._leases.take([self._name], self._every_s + _MARGIN_S))
                if self.holding:
                    await self._body()
                    self.last_run = time.monotonic()
                await asyncio.sleep(self._every_s)
        finally:
            self.holding = False
