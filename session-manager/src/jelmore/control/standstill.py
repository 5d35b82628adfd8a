"""Detects that this manager did not run (stopped, suspended, or starved), so that no deadline counts that time.

A deadline that passed while the manager could not act says nothing about the session: without this, a container that
became ready meanwhile would be removed.
"""

import asyncio
from datetime import datetime
from typing import Final

import structlog

from jelmore.ports import Clock

_log = structlog.get_logger(__name__)

_BEAT_S: Final = 1.0
LONGEST_GAP_S: Final = 5.0


class Standstill:
    """Knows since when this manager has been able to act without a pause."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.now()
        self._beat_at: datetime | None = None  # None until `run` has started: there is no gap to detect

    async def run(self) -> None:
        """Record once a second that this manager runs, until cancelled."""
        while True:
            self._beat_at = self._clock.now() if self._beat_at is None else self._beat_at
            self.since()
            await asyncio.sleep(_BEAT_S)

    def since(self) -> datetime:
        """Return when the newest gap ended, or when this manager started. Also detects a gap that has just ended."""
        now = self._clock.now()
        if self._beat_at is not None:
            gap_s = abs((now - self._beat_at).total_seconds())
            if gap_s > LONGEST_GAP_S:
                _log.warning("stood_still", seconds=round(gap_s, 1))
                self._since = now
            self._beat_at = now
        return self._since
