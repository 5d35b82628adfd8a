"""How much output a session may journal: in all, and per second beyond a first burst.

Whatever an agent prints is written to the journal, to PostgreSQL and to every reader. Beyond the budget a line keeps
its place and its outline, so the session goes on and its neighbours do not pay for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jelmore_protocol.events import EventKind

TOTAL_BYTES: Final = 2 * 1024 * 1024 * 1024
BYTES_PER_S: Final = 1024 * 1024
BURST_BYTES: Final = 64 * 1024 * 1024
OUTLINE_BYTES: Final = 2048
CODE: Final = "output_limited"

_COUNTED: Final = frozenset(
    {EventKind.MESSAGE, EventKind.FILE_MODIFIED, EventKind.GIT_ACTIVITY, EventKind.DIRECTORY_CHANGED}
)


@dataclass(slots=True)
class OutputBudget:
    """A bucket that fills with `bytes_per_s` up to `burst_bytes`, and a total. `used_bytes` begins at the journal's."""

    used_bytes: int = 0
    total_bytes: int = TOTAL_BYTES
    bytes_per_s: int = BYTES_PER_S
    burst_bytes: int = BURST_BYTES
    limited: bool = False  # the last line was cut
    _spent: float = 0
    _spent_at_s: float = 0

    def take(self, size: int, now_s: float) -> bool:
        """Charge a line of `size` bytes; return False, and charge nothing, when it must be cut to its outline."""
        self._spent = max(self._spent - (now_s - self._spent_at_s) * self.bytes_per_s, 0)
        self._spent_at_s = now_s
        if size > OUTLINE_BYTES and (
            self._spent + size > self.burst_bytes or self.used_bytes + size > self.total_bytes
        ):
            return False
        self._spent += size
        self.used_bytes += size
        return True

    def warning(self) -> dict[str, Any]:
        """Return the data of the `error` that is journaled when lines begin to be cut."""
        is_total = self.used_bytes + self.burst_bytes > self.total_bytes
        limit = self.total_bytes if is_total else self.burst_bytes
        what = f"{limit} bytes in all" if is_total else f"{self.bytes_per_s} bytes per second"
        return {
            "code": CODE,
            "message": f"the session printed more than {what}; large output is cut until it prints less",
            "used_bytes": self.used_bytes,
            "limit_bytes": limit,
        }


def counts(kind: EventKind, data: Mapping[str, Any]) -> bool:
    """Return whether an event is output that may be cut. What ends a turn or asks somebody never is."""
    message = data.get("message")
    is_result = isinstance(message, Mapping) and message.get("type") == "result"
    return kind in _COUNTED and not is_result
