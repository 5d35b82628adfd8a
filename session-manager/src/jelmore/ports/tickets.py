"""Tickets: single-use credentials that may stand in a URL."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID


@dataclass(frozen=True, slots=True)
class TakenTicket:
    """Whose ticket it was, and the only session that it opens (None: whatever the key may see)."""

    key_id: str
    session_id: UUID | None


class TicketStore(Protocol):
    """Tickets by digest."""

    async def add_ticket(self, digest: str, taken: TakenTicket, ttl_s: float) -> datetime:
        """Store a ticket; return when it expires."""

    async def take_ticket(self, digest: str) -> TakenTicket | None:
        """Remove a ticket and return whose it is; None when it is unknown, used or expired."""
