"""The event log in PostgreSQL, and stream tickets.

One transaction at a time numbers what has been committed, under a lock that the other managers do not wait for.
"""

import asyncio
from datetime import datetime
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database, fetch, fetch_row
from jelmore.drivers.postgres_rows import event_of
from jelmore.ports.event_log import EventFilter, LogBounds, LoggedEvent, LogPage
from jelmore.ports.tickets import TakenTicket
from jelmore.session.errors import FaultError
from jelmore.session.plain_text import storable_text

NUMBERED_AT_ONCE: Final = 1000
WINDOW: Final = 2000
"""How many positions a read looks at: with a filter that matches little, a page costs no more than this."""

_SQL = sql.queries("event_log")
_TICKETS = sql.queries("tickets")


class PostgresEventLog:
    """The `EventLog` and `TicketStore` ports. The store of this process sets `arrived`."""

    def __init__(
        self, url: str, arrived: asyncio.Event | None = None, *, connections: int = 4, timeout_s: float = 10
    ) -> None:
        self._arrived = arrived or asyncio.Event()
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def number(self) -> int:
        """Give positions to committed events; see the port."""
        self._arrived.clear()  # before the query: events written later set it again
        while True:
            async with self._database.transaction() as connection:
                looked = _one(await connection.fetchrow(_SQL["look"]))
                if not looked["mine"]:
                    return int(looked["last"])
                done = _one(await fetch_row(connection, _SQL["number"], limit=NUMBERED_AT_ONCE))
            if done["numbered"] < NUMBERED_AT_ONCE:
                return int(done["last"])

    async def bounds(self) -> LogBounds:
        """Return which positions are kept."""
        row = _one(await self._database.row(_SQL["bounds"]))
        return LogBounds(row["oldest"], row["newest"])

    async def read(self, after: int, limit: int, wanted: EventFilter, *, max_bytes: int) -> LogPage:
        """Return matching events after a position; see the port."""
        if wanted.user_id is not None and not storable_text(wanted.user_id):
            return LogPage((), (await self.bounds()).newest, more=False)
        async with self._database.connection() as connection:
            span = _one(await fetch_row(connection, _SQL["span"], after=after, window=WINDOW))
            rows = await fetch(
                connection,
                _SQL["read"],
                after=after,
                until=span["until"],
                owner=wanted.owner,
                session_id=wanted.session_id,
                user_id=wanted.user_id,
                types=sorted(wanted.types),
                limit=limit,
                max_bytes=max_bytes,
            )
        events = [LoggedEvent(row["position"], event_of(row), row["owner"], row["user_id"]) for row in rows]
        if rows and (len(rows) >= limit or len(rows) < rows[0]["found"]):
            return LogPage(events, events[-1].position, more=True)
        return LogPage(events, span["until"], more=span["more"])

    async def trim(self, max_age_s: float) -> int:
        """Remove old entries; see the port."""
        return int(_one(await self._database.row(_SQL["trim"], max_age_s=max_age_s))[0])

    async def wait(self, seconds: float) -> None:
        """Return when this process may have written events, after `seconds` at the latest."""
        try:
            async with asyncio.timeout(seconds):
                await self._arrived.wait()
        except TimeoutError:
            pass

    async def add_ticket(self, digest: str, taken: TakenTicket, ttl_s: float) -> datetime:
        """Store a ticket; return when it expires."""
        values = {"digest": digest, "key_id": taken.key_id, "session_id": taken.session_id, "ttl_s": ttl_s}
        expires_at: datetime = _one(await self._database.row(_TICKETS["add_ticket"], **values))["expires_at"]
        return expires_at

    async def take_ticket(self, digest: str) -> TakenTicket | None:
        """Remove a ticket and return whose it is; None when it is unknown, used or expired."""
        row = await self._database.row(_TICKETS["take_ticket"], digest=digest)
        return None if row is None else TakenTicket(row["key_id"], _uuid(row["session_id"]))

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _one[R](row: R | None) -> R:
    if row is None:
        raise FaultError("postgres: a statement that returns one row returned none")
    return row


def _uuid(value: object) -> UUID | None:
    return None if value is None else UUID(str(value))
