"""Leases in PostgreSQL: which manager does what."""

from collections.abc import Sequence
from typing import Protocol
from uuid import UUID


class Leases(Protocol):
    """Who does what when several managers share the sessions. Time is the database's, never a host's."""

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        """Take or renew leases for so long; return those that are ours now."""

    async def give(self, names: Sequence[str]) -> None:
        """Give leases back. Not ours is success."""

    async def elsewhere(self, name: str) -> bool:
        """Return whether another manager holds the lease now."""

    async def unfollowed(self) -> Sequence[UUID]:
        """Return awake sessions with a container whose runner no manager follows (lease `relay/{id}`)."""

    async def tidy(self) -> None:
        """Remove leases that expired long ago."""

    async def close(self) -> None:
        """Release connections."""
