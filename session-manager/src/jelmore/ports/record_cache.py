"""Session records in Redis, for reads without SQL."""

from typing import Protocol
from uuid import UUID

from jelmore.session.record import Session


class Records(Protocol):
    """A cache of session records in Redis. Its loss loses no data; a record never replaces a newer one."""

    async def get(self, session_id: UUID) -> Session | None:
        """Return the cached record; None when there is none or it cannot be parsed."""

    async def put(self, session: Session) -> None:
        """Store a record unless a newer one is cached."""

    async def drop(self, session_id: UUID) -> None:
        """Remove a record. Succeeds when there is none."""

    async def close(self) -> None:
        """Release connections."""
