"""Limits how much output a session may journal: in total, and per second after an initial burst.

All output is written to the journal, to PostgreSQL and to every reader. Beyond the budget, an event keeps its number
but is cut to an outline, and once the total is used up, `OPTIONAL` events are left out: the session continues and does
not slow down other sessions.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from jelmore_protocol.control import DEFAULT_OUTPUT_LIMITS, OutputLimits
from jelmore_protocol.events import EventKind

TOTAL_BYTES: Final = DEFAULT_OUTPUT_LIMITS.total_bytes
BYTES_PER_S: Final = DEFAULT_OUTPUT_LIMITS.bytes_per_s
BURST_BYTES: Final = 64 * 1024 * 1024
BURST_EVENTS: Final = 20_000
EVENTS_PER_S: Final = 1_000.0
OUTLINE_BYTES: Final = 2048
CODE: Final = "output_limited"

OPTIONAL: Final = frozenset({EventKind.FILE_MODIFIED, EventKind.GIT_ACTIVITY})
"""What is left out when the total is used up. These events are small, so cutting them would not bound them."""

_COUNTED: Final = frozenset(
    {EventKind.MESSAGE, EventKind.SAID, EventKind.TOOL_USED, EventKind.TOOL_ENDED}
    | {EventKind.FILE_MODIFIED, EventKind.GIT_ACTIVITY, EventKind.DIRECTORY_CHANGED, EventKind.SETUP_OUTPUT}
)


@dataclass(slots=True)
class OutputBudget:
    """A token bucket (`bytes_per_s`, up to `burst_bytes`) and a total. `used_bytes` starts at the journal's size."""

    used_bytes: int = 0
    total_bytes: int = TOTAL_BYTES
    bytes_per_s: int = BYTES_PER_S
    burst_bytes: int = BURST_BYTES
    limited: bool = False  # the last event was cut
    left_out: bool = False  # an event was left out, and that was reported
    _spent: float = 0
    _spent_at_s: float = 0

    def take(self, size: int, now_s: float) -> bool:
        """Charge `size` bytes and return True, or charge nothing and return False: the event must be cut."""
        self._spent = max(self._spent - (now_s - self._spent_at_s) * self.bytes_per_s, 0)
        self._spent_at_s = now_s
        if size > OUTLINE_BYTES and (
            self._spent + size > self.burst_bytes or self.used_bytes + size > self.total_bytes
        ):
            return False
        self._spent += size
        self.used_bytes += size
        return True

    @property
    def is_used_up(self) -> bool:
        """Whether the total is reached. `OPTIONAL` events are then left out, and the others are cut."""
        return self.used_bytes >= self.total_bytes

    def change(self, limits: OutputLimits, now_s: float) -> None:
        """Set other limits for what is journaled from now on. What was journaled before stays charged."""
        self._spent = max(self._spent - (now_s - self._spent_at_s) * self.bytes_per_s, 0)
        self._spent_at_s = now_s
        self.total_bytes, self.bytes_per_s = limits.total_bytes, limits.bytes_per_s
        self.left_out = False
        self.burst_bytes = min(BURST_BYTES, limits.total_bytes)

    @property
    def limits(self) -> OutputLimits:
        """The limits in force."""
        return OutputLimits(total_bytes=self.total_bytes, bytes_per_s=self.bytes_per_s)

    def warning(self) -> dict[str, Any]:
        """Return the data of the `error` event that announces that output is now cut."""
        is_total = self.used_bytes + self.burst_bytes > self.total_bytes
        limit = self.total_bytes if is_total else self.burst_bytes
        what = f"{limit} bytes in all" if is_total else f"{self.bytes_per_s} bytes per second"
        return {
            "code": CODE,
            "message": f"the session printed more than {what}; large output is cut until it prints less",
            "used_bytes": self.used_bytes,
            "limit_bytes": limit,
        }


@dataclass(slots=True)
class Pace:
    """How fast events may follow each other: `BURST_EVENTS` at once, and `EVENTS_PER_S` after that.

    Small events are never cut, so without it a program that prints them without end would keep manager and database
    busy, which all sessions share. It loses nothing: whoever prints waits.
    """

    _room: float = BURST_EVENTS
    _room_at_s: float = 0.0
    _seen: int | None = None

    def pause_s(self, last: int, now_s: float) -> float:
        """Return how many seconds to wait before the next event, after the one with the number `last`."""
        came, self._seen = last - (last if self._seen is None else self._seen), last
        passed_s, self._room_at_s = now_s - self._room_at_s, now_s
        self._room = min(BURST_EVENTS, self._room + passed_s * EVENTS_PER_S) - came
        return max(0.0, -self._room / EVENTS_PER_S)


def budget_of(used_bytes: int, limits: OutputLimits | None) -> OutputBudget:
    """Return the budget of a session that has journaled `used_bytes`; None takes the defaults of this runner."""
    if limits is None:
        return OutputBudget(used_bytes)
    burst_bytes = min(BURST_BYTES, limits.total_bytes)
    return OutputBudget(used_bytes, limits.total_bytes, limits.bytes_per_s, burst_bytes)


def counts(kind: EventKind, data: Mapping[str, Any]) -> bool:
    """Return whether an event may be cut. The end of an input's turn and a request for an answer never are.

    An input has one end, and `request_bounds` bounds requests. Turns without an input may end as often as whatever runs
    as the agent's user says.
    """
    message = data.get("message")
    if kind is EventKind.TURN_ENDED or (isinstance(message, Mapping) and message.get("type") == "result"):
        return data.get("input_id") is None
    return kind in _COUNTED
