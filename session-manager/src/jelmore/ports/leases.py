"""Leases in PostgreSQL: which manager does what, until when."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID


class Leases(Protocol):
    """Divides work among the managers that share the sessions. Uses the clock of the database, not of the hosts."""

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        """Take or renew leases for `seconds`; return the names of those that this manager now holds."""

    async def give(self, names: Sequence[str]) -> None:
        """Release leases. Succeeds for leases that this manager does not hold."""

    async def elsewhere(self, name: str) -> bool:
        """Return whether another manager holds the lease."""

    async def unfollowed(self) -> Sequence[UUID]:
        """Return awake sessions with a container whose runner no manager follows (no lease `relay/{id}`)."""

    async def tidy(self) -> None:
        """Delete leases that expired long ago."""

    async def close(self) -> None:
        """Release connections."""
