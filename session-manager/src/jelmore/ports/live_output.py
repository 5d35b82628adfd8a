"""What passes through and may be lost: live output, the bus, routes, records for reads, time."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jelmore.ports.sandboxes import Address
from jelmore.ports.store import StoredEvent
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore.session.world import Route


@dataclass(frozen=True, slots=True)
class LiveLine:
    """Something to pass on to whoever follows a session now.

    `seq` is None for deltas and states; `text` is the frame's JSON.
    """

    session_id: UUID
    seq: int | None
    text: str


type StoredOutput = Callable[[int, int], Awaitable[Sequence[Output]]]
"""Reads a session's stored output after a seq, in order, at most so many. May raise DependencyError."""


class LiveOutput(Protocol):
    """Redis: the hot tail of each session's output, and what is never stored. A cache: losing it loses nothing."""

    async def check(self) -> None:
        """Return when it takes writes."""

    async def answers(self) -> None:
        """Return when it answers, full or not: enough to watch and to tell."""

    async def append(self, session_id: UUID, outputs: Sequence[Output], stored: StoredOutput | None = None) -> None:
        """Add output under its own seq. Seqs that are there already are skipped: any number of times.

        The tail is always the newest output without a hole, bounded. Lines that are missing before `outputs` are read
        with `stored`, as many as fit; without it, output that does not continue the tail replaces it.
        """

    async def publish(self, session_id: UUID, text: str) -> None:
        """Pass a delta or state frame to the readers of now; nobody listening is success. Works where all is full."""

    async def tail(self, session_id: UUID, after: int, limit: int) -> Sequence[Output] | None:
        """Return the output after `after`; None when the hot tail does not reach back that far."""

    def watch(self, wanted: "WatchList") -> AsyncGenerator[LiveLine]:
        """Yield what happens in all watched sessions over one connection; close it (`aclosing`).

        Lines of a session come in order; numbers may be missing. Raises DependencyError when the connection breaks.
        """

    async def expire(self, session_id: UUID, seconds: int) -> None:
        """Let an ended session's keys go after a while."""

    async def forget(self, session_id: UUID) -> None:
        """Remove the session's keys now."""

    async def known(self) -> Sequence[UUID]:
        """Return the sessions that have keys here."""

    async def close(self) -> None:
        """Release connections."""


class WatchList(Protocol):
    """Which sessions to watch, and from which seq; changes while it is watched."""

    def wanted(self) -> Mapping[UUID, int]:
        """Return the newest seq already seen, by session."""

    async def changed(self) -> None:
        """Return when `wanted` has changed since this was last called."""


class EventBus(Protocol):
    """NATS JetStream: where events are published."""

    async def check(self) -> None:
        """Return when it answers and the stream exists."""

    async def connect(self) -> bool:
        """Make sure the stream exists; return whether it had to be made (so that nothing published before is there)."""

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Publish in order; return how many of them, from the first on, were acknowledged.

        That is all, or some when the bus went away or was too slow for the rest; raises DependencyError rather than
        return none. The same event twice within the hour is one.
        """

    async def close(self) -> None:
        """Release the connection."""


class Edge(Protocol):
    """Caddy, and the folder of routes it dials into."""

    async def check(self) -> None:
        """Return when Caddy answers."""

    async def program(self) -> bool:
        """Make Caddy's configuration the wanted one; return whether it had to be changed."""

    async def publish(self, session_id: UUID, to: Address, *, route: Route) -> None:
        """Lead the session's URL to `to`, atomically replacing what was there.

        A sleeping session's (`Route.MANAGER`) leads to whichever manager is there when somebody calls; `to` is then
        only what it would be with this one alone. RefusedError for an address that cannot be led to.
        """

    async def withdraw(self, session_id: UUID) -> None:
        """Remove the session's URL. Absent is success."""

    async def route(self, session_id: UUID) -> Route:
        """Return where the session's URL leads now."""

    async def routes(self) -> Sequence[UUID]:
        """Return every published session."""

    async def close(self) -> None:
        """Release connections."""


class Records(Protocol):
    """Records in Redis, for reads without SQL. Losing it loses nothing; a record never replaces a newer one."""

    async def get(self, session_id: UUID) -> Session | None:
        """Return the kept record; None when there is none, or none that can be read."""

    async def put(self, session: Session) -> None:
        """Keep a record unless a newer one is kept."""

    async def drop(self, session_id: UUID) -> None:
        """Forget a record. Absent is success."""

    async def close(self) -> None:
        """Release connections."""


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now(self) -> datetime:
        """Return this moment, in UTC."""
