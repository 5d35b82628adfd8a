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

    async def again(self) -> int:
        """Mark every kept event unpublished (the bus lost its memory); return how many."""

    async def wait(self, seconds: float) -> None:
        """Return when something new may be there, at the latest after `seconds`."""
