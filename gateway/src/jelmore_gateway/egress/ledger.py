"""Decides which refusals are reported, so that an agent in a loop cannot flood the manager with events. Pure."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

SAME_S: Final = 60.0
"""The same refusal is reported once in this time."""

MAX_REMEMBERED: Final = 256
BURST: Final = 20
PER_S: Final = 0.5


@dataclass(slots=True)
class Ledger:
    """Remembers what was reported of one session. Times are seconds of a monotonic clock."""

    _reported: "OrderedDict[tuple[str, str], float]" = field(default_factory=OrderedDict)
    _tokens: float = BURST
    _at: float = 0.0
    _suppressed: int = 0

    def admit(self, target: str, reason: str, now: float) -> int | None:
        """Return how many refusals went unreported since the last report; None when this one is not reported."""
        self._tokens = min(BURST, self._tokens + max(0.0, now - self._at) * PER_S)
        self._at = now
        last = self._reported.get((target, reason))
        if (last is not None and now - last < SAME_S) or self._tokens < 1:
            self._suppressed += 1
            return None
        self._tokens -= 1
        self._reported[target, reason] = now
        self._reported.move_to_end((target, reason))
        while len(self._reported) > MAX_REMEMBERED:
            self._reported.popitem(last=False)
        suppressed, self._suppressed = self._suppressed, 0
        return suppressed
