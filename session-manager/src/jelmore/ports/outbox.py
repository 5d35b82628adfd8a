"""The outbox in PostgreSQL: events that are not yet published on NATS."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from jelmore.ports.store import StoredEvent

ANY_BYTES: Final = 2**62
"""No limit."""


class Outbox(Protocol):
    """Events to publish, oldest first within a session. One holder at a time across all managers."""

    def hold(self) -> AsyncGenerator["HeldOutbox"]:
        """Wait for the lock, then yield the outbox once. Closing the generator (`aclosing`) releases the lock."""


class HeldOutbox(Protocol):
    """The outbox while its lock is held."""

    async def take(self, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        """Return the oldest unpublished events, in order within each session.

        Their payloads have at most `max_bytes` together, but one event is always returned if there is any.
        """

    async def done(self, events: Sequence[StoredEvent]) -> None:
        """Mark the events as published."""

    async def kept(self, stream: str, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        """Return the next events to publish again on a stream that lost them; empty at the end. Limited as in `take`.

        Starts after the position that `kept_until` stored for this stream; oldest session first, in order within each.
        Leaves out events that are still in the outbox: those are taken only after the stream is filled.
        """

    async def kept_until(self, stream: str, last: StoredEvent) -> None:
        """Store that every event up to `last` is on the stream."""

    async def wait(self, seconds: float) -> None:
        """Return when there may be new events, after `seconds` at the latest."""
