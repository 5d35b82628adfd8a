"""Time, as a port so that tests control it."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now(self) -> datetime:
        """Return this moment, in UTC."""
