"""The outbox, held by one manager at a time under an advisory lock.

Several publishers that skip each other's rows would reorder a session's events. One publisher does not, and is faster.
The lock and all work on the outbox share one connection, so a manager that lost the lock can change nothing.

New events of the holder's own process wake it through memory; it finds those of other managers by polling every second.
PostgreSQL's NOTIFY is not used: a commit with it takes a server-wide lock, for a wake-up that only matters when several
managers share the work.
"""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Final

import asyncpg

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import DEPENDENCY, close, connect, execute, fetch, mapped
from jelmore.drivers.postgres_rows import event_of
from jelmore.ports import StoredEvent
from jelmore.ports.outbox import ANY_BYTES
from jelmore.session.errors import DependencyError

POLL_S: Final = 1.0
HOLDER_IDLE_S: Final = 40.0
"""After this time without a statement PostgreSQL ends the holder's connection: the holder hangs, and others wait.

Longer than a live holder may spend on publishing 8 MB to a slow NATS.
"""
_SQL = sql.queries("outbox")


class PostgresOutbox:
    """The `Outbox` port. The store of this process sets `wrote`; without it, new events wait for the next poll."""

    def __init__(
        self, url: str, wrote: asyncio.Event | None = None, *, timeout_s: float = 10, idle_s: float = HOLDER_IDLE_S
    ) -> None:
        self._url = url
        self._idle_s = idle_s
        self._wrote = wrote or asyncio.Event()
        self._timeout_s = timeout_s

    async def hold(self) -> AsyncGenerator["HeldPostgresOutbox"]:
        """Wait for the lock, yield the outbox, release the lock at the end. Raises DependencyError."""
        connection = await connect(self._url, self._timeout_s)
        try:
            connection.add_termination_listener(lambda _: self._wrote.set())
            while not await _try_hold(connection):
                await asyncio.sleep(POLL_S)
            with mapped():
                await connection.execute(f"set idle_session_timeout = {int(self._idle_s * 1000)}")
            yield HeldPostgresOutbox(connection, self._wrote)
        finally:
            await close(connection)  # this releases the lock


async def _try_hold(connection: "asyncpg.Connection[asyncpg.Record]") -> bool:
    with mapped():
        return bool(await connection.fetchval(_SQL["try_hold"]))


class HeldPostgresOutbox:
    """The `HeldOutbox` port. Every method raises DependencyError once the connection, and so the lock, is lost."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]", wrote: asyncio.Event) -> None:
        self._connection = connection
        self._wrote = wrote

    async def take(self, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        """Return the oldest unpublished events, in order within each session; see the port."""
        self._wrote.clear()  # before the query: events written later set it again
        with mapped():
            rows = await fetch(self._connection, _SQL["take"], limit=limit, max_bytes=max_bytes)
            return [replace(event_of(row), again=row["again"]) for row in rows]

    async def done(self, events: Sequence[StoredEvent]) -> None:
        """Remove published events from the outbox. May run twice."""
        ids, seqs = [event.session_id for event in events], [event.seq for event in events]
        with mapped():
            await execute(self._connection, _SQL["done"], session_ids=ids, seqs=seqs)

    async def kept(self, stream: str, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        """Return the next events to publish again; see the port."""
        with mapped():
            rows = await fetch(self._connection, _SQL["kept"], stream=stream, limit=limit, max_bytes=max_bytes)
            return [event_of(row) for row in rows]

    async def kept_until(self, stream: str, last: StoredEvent) -> None:
        """Record that all events up to `last` are on the stream."""
        values = {"stream": stream, "session_id": last.session_id, "seq": last.seq}
        with mapped():
            await execute(self._connection, _SQL["kept_until"], **values)

    async def wait(self, seconds: float) -> None:
        """Return when there may be new events: at once for this process's own, within a second for others'."""
        try:
            async with asyncio.timeout(min(seconds, POLL_S)):
                await self._wrote.wait()
        except TimeoutError:
            pass
        if self._connection.is_closed():
            raise DependencyError(DEPENDENCY, "the connection that holds the outbox was lost")
