"""NATS JetStream: where events are published."""

from collections.abc import Sequence
from typing import Protocol

from jelmore.ports.store import StoredEvent


class EventBus(Protocol):
    """NATS JetStream: where events are published."""

    async def check(self) -> None:
        """Return when it answers and the stream exists."""

    async def connect(self) -> str | None:
        """Make sure the stream exists; return its identity as long as what was published earlier is not in it.

        A stream that had to be made is without it, until `filled` says otherwise; another one has another identity.
        """

    async def filled(self) -> None:
        """Note at the stream that it holds what was published earlier. May run twice."""

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Publish in order; return how many of them, from the first on, were acknowledged.

        That is all, or some when the bus went away or was too slow for the rest; raises DependencyError rather than
        return none. The same event twice within the hour is one.
        """

    async def close(self) -> None:
        """Release the connection."""
