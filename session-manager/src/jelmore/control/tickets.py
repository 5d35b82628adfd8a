"""Stream tickets: credentials for a URL, where a browser's EventSource cannot send headers.

A URL ends up in logs and histories. So a ticket works once, within a minute, and for streams only.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from jelmore.control.access import Access, digest
from jelmore.control.requests import Caller
from jelmore.ports.tickets import TakenTicket, TicketStore
from jelmore.session.errors import ForbiddenError, UnauthenticatedError

TICKET_PREFIX: Final = "jlt_"
TICKET_TTL_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """A new ticket."""

    text: str
    expires_at: datetime


class Tickets:
    """Issues tickets and takes them back."""

    def __init__(self, store: TicketStore, access: Access) -> None:
        self._store = store
        self._access = access

    async def issue(self, caller: Caller, session_id: UUID | None) -> Ticket:
        """Return a new ticket of this caller, for the streams of one session or for every stream."""
        text = TICKET_PREFIX + secrets.token_urlsafe(32)
        taken = TakenTicket(caller.subject, session_id)
        return Ticket(text, await self._store.add_ticket(digest(text), taken, TICKET_TTL_S))

    async def redeem(self, text: str, session_id: UUID | None) -> Caller:
        """Return the caller of a ticket, which is then used up. `session_id` is the session of the stream, if any.

        Raises UnauthenticatedError for a ticket that is unknown, used or expired, or whose key was revoked;
        ForbiddenError for a ticket of another session.
        """
        taken = await self._store.take_ticket(digest(text))
        if taken is None:
            raise UnauthenticatedError("this ticket is not known: it works once, within a minute")
        if taken.session_id is not None and taken.session_id != session_id:
            raise ForbiddenError("this ticket is for the stream of another session")
        return await self._access.keys.caller_by_id(taken.key_id)
