"""Session records in Redis, for reads without SQL."""

from typing import Protocol
from uuid import UUID

from jelmore.session.record import Session


class Records(Protocol):
    """Records in Redis, for reads without SQL. Losing it loses nothing; a record never replaces a newer one."""

    async def get(self, session_id: UUID) -> Session | None:
        """Return the kept record; None when there is none, or none that can be read."""

    async def put(self, session: Session) -> None:
        """Keep a record unless a newer one is kept."""

    async def drop(self, session_id: UUID) -> None:
        """Forget a record. Absent is success."""

    async def close(self) -> None:
        """Release connections."""
