"""The outbox in PostgreSQL: events that are not published yet."""

from collections.abc import AsyncGenerator, Sequence
from typing import Final, Protocol

from jelmore.ports.store import StoredEvent

ANY_BYTES: Final = 2**62
"""No bound."""


class Outbox(Protocol):
    """Events on their way out, oldest first within a session. One holder at a time across all managers."""

    def hold(self) -> AsyncGenerator["HeldOutbox"]:
        """Wait for the lock, yield the outbox once, release it when closed (use `aclosing`)."""


class HeldOutbox(Protocol):
    """The outbox while its lock is held."""

    async def take(self, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        """Return the oldest unpublished events, in order within each session.

        No more than have payloads of so many bytes together, but always one if there is any.
        """

    async def done(self, events: Sequence[StoredEvent]) -> None:
        """Mark them published."""

    async def kept(self, stream: str, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        """Return the next events to publish again on a stream that lost them, bounded as `take` is; none at the end.

        The oldest session first, in order within each, from where `kept_until` came to for this stream. Events that
        wait in the outbox are left out: nothing is taken from there until the stream is filled.
        """

    async def kept_until(self, stream: str, last: StoredEvent) -> None:
        """Note that all up to `last` is on the stream."""

    async def wait(self, seconds: float) -> None:
        """Return when something new may be there, at the latest after `seconds`."""
