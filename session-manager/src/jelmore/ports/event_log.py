"""The event log: every event of every session in one order, under a cursor that has no gaps."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from jelmore.ports.store import StoredEvent


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event at its position in the log, with the owner and user of its session. System events have neither."""

    position: int
    event: StoredEvent
    owner: str | None = None
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a reader wants and may see. None and an empty set mean no filter."""

    owner: str | None = None
    session_id: UUID | None = None
    user_id: str | None = None
    types: frozenset[str] = frozenset()

    def matches(self, logged: LoggedEvent) -> bool:
        """Return whether the reader gets this event."""
        return (
            self.owner in {None, logged.owner}
            and self.session_id in {None, logged.event.session_id}
            and self.user_id in {None, logged.user_id}
            and (not self.types or logged.event.type in self.types)
        )


@dataclass(frozen=True, slots=True)
class LogBounds:
    """The oldest position that is kept and the newest one. In an empty log `oldest` is the next position."""

    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """Events in order. `until` is the cursor of the next page; `more` says that events follow it."""

    events: Sequence[LoggedEvent]
    until: int
    more: bool


class EventLog(Protocol):
    """The log. Positions ascend by one; a reader that sees a position also sees every lower one that is kept."""

    async def number(self) -> int:
        """Give positions to the events that have none, and return the newest position.

        May run on several managers at once; one of them does the work.
        """

    async def bounds(self) -> LogBounds:
        """Return which positions are kept."""

    async def read(self, after: int, limit: int, wanted: EventFilter, *, max_bytes: int) -> LogPage:
        """Return matching events after a position, in order: at most `limit` and `max_bytes` of payloads (or one).

        Looks at a bounded number of positions: a page may be empty although `more` is set.
        """

    async def trim(self, max_age_s: float) -> int:
        """Remove entries older than `max_age_s`, a bounded number at once; return how many. The events are kept."""

    async def wait(self, seconds: float) -> None:
        """Return when this process may have written events, after `seconds` at the latest."""
