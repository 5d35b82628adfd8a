"""Redis: the hot tail of output, and frames that are never stored."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from jelmore.session.output import Output


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

    def wanted(self) -> Mapping[UUID, int | None]:
        """Return the newest seq already seen, by session; None where only deltas and states are wanted."""

    async def changed(self) -> None:
        """Return when `wanted` has changed since this was last called."""
