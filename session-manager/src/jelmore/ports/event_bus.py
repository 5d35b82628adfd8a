"""NATS JetStream: where events are published."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID

from jelmore.ports.store import StoredEvent


class EventBus(Protocol):
    """NATS JetStream: where events are published."""

    async def check(self) -> None:
        """Return when NATS answers and the stream exists; raise otherwise."""

    async def connect(self) -> str | None:
        """Create the stream if it is missing; return its identity while it lacks earlier events, None once it has them.

        A new stream lacks them until `filled` is called. A stream that is created again gets another identity.
        """

    async def filled(self) -> None:
        """Mark the stream as holding the earlier events. May run twice."""

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        """Publish in order; return how many events, counted from the first, were acknowledged.

        Returns fewer than all when the bus fails or is too slow for the rest; raises DependencyError when none was
        acknowledged. The bus drops an event that was published within the last hour with the same `again`.
        """

    async def purge(self, session_id: UUID) -> int:
        """Remove the published events of a session; return how many there were. May run twice.

        Raises DependencyError, also when some are left.
        """

    async def close(self) -> None:
        """Release the connection."""
