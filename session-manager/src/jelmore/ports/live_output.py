"""Redis: the hot tail of output, and frames that are not stored."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from jelmore.session.output import Output


@dataclass(frozen=True, slots=True)
class LiveLine:
    """A frame for the current readers of a session.

    `seq` is None for deltas and states. `text` is the frame's JSON.
    """

    session_id: UUID
    seq: int | None
    text: str


type StoredOutput = Callable[[int, int], Awaitable[Sequence[Output]]]
"""Called with `(after, limit)`: returns a session's stored output in order. May raise DependencyError."""


class LiveOutput(Protocol):
    """Redis: the hot tail of each session's output, and frames that are not stored. A cache: its loss loses no data."""

    async def check(self) -> None:
        """Return when Redis accepts writes; raise otherwise."""

    async def answers(self) -> None:
        """Return when Redis answers, even if its memory is full: that is enough to watch and to publish."""

    async def append(self, session_id: UUID, outputs: Sequence[Output], stored: StoredOutput | None = None) -> None:
        """Append output to the tail. Skips seqs that are there already, so it may run any number of times.

        The tail is bounded and holds the newest output without gaps. Lines that are missing before `outputs` are read
        with `stored`, as many as fit. Without `stored`, output that does not continue the tail replaces it.
        """

    async def publish(self, session_id: UUID, text: str) -> None:
        """Send a delta or state frame to the current readers. Succeeds without readers and when memory is full."""

    async def tail(self, session_id: UUID, after: int, limit: int) -> Sequence[Output] | None:
        """Return up to `limit` lines after seq `after`; None when the hot tail does not reach back that far."""

    def watch(self, wanted: "WatchList") -> AsyncGenerator[LiveLine]:
        """Yield the frames of all watched sessions over one connection. Close the generator (`aclosing`).

        Lines of a session arrive in order, but some may be missing. Raises DependencyError when the connection breaks.
        """

    async def expire(self, session_id: UUID, seconds: int) -> None:
        """Let the session's keys expire after `seconds`. Called when the session has ended."""

    async def forget(self, session_id: UUID) -> None:
        """Remove the session's keys at once."""

    async def known(self) -> Sequence[UUID]:
        """Return the sessions that have keys in Redis."""

    async def close(self) -> None:
        """Release connections."""


class WatchList(Protocol):
    """The sessions to watch, and from which seq. May change during the watch."""

    def wanted(self) -> Mapping[UUID, int | None]:
        """Return the newest seq already seen, by session; None where only deltas and states are needed."""

    async def changed(self) -> None:
        """Return when `wanted` has changed since this was last called."""
