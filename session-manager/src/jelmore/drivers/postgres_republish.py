"""Stored events back into the outbox, for consumers of the event bus that have lost them.

They go through the outbox and not to the bus: then a manager publishes them in order like any other, and an erasure of
their session sees them and waits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Connection, Database, execute, fetch, fetch_value

_SQL: Final = sql.queries("republish")
_ERASURE: Final = sql.queries("erasure")
_FIRST: Final = UUID(int=0)
_LAST: Final = UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the stored events: after this event of this session. The order is that of sessions, then `seq`."""

    session_id: UUID
    seq: int

    def __str__(self) -> str:
        return f"{self.session_id}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Return the position of a text as `str` writes it. Raises ValueError."""
        session_id, _, seq = text.partition(":")
        return cls(UUID(session_id), int(seq))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events: of one session, or of a time. None means no limit; `until` itself is not included."""

    session_id: UUID | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def start(self) -> Position:
        """The position before the first event."""
        return Position(self.session_id or _FIRST, 0)


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step did: how many events it looked at and found, and the last one that it looked at."""

    looked: int
    found: int
    last: Position | None


class PostgresRepublish:
    """Steps through stored events and puts those that are wanted back into the outbox."""

    def __init__(self, url: str, *, timeout_s: float = 10) -> None:
        self._database = Database(url, connections=1, timeout_s=timeout_s)

    async def step(self, wanted: Wanted, after: Position, limit: int, again: str | None) -> Batch:
        """Look at the next `limit` events after a position; put those that match into the outbox with the mark `again`.

        With None, only count them. May run twice. At the end `last` is None.
        """
        async with self._database.transaction() as connection:
            if again is not None:
                await connection.execute(_ERASURE["lock_numbering"])  # an erasure takes it too, so it sees our rows
            rows = await fetch(
                connection,
                _SQL["look"],
                after_session=after.session_id,
                after_seq=after.seq,
                last_session=wanted.session_id or _LAST,
                since=wanted.since,
                until=wanted.until,
                limit=limit,
            )
            found = [(row["session_id"], row["seq"]) for row in rows if row["matches"]]
            if found and again is not None:
                await self._put_back(connection, found, again)
        last = Position(rows[-1]["session_id"], rows[-1]["seq"]) if rows else None
        return Batch(len(rows), len(found), last)

    async def _put_back(self, connection: Connection, found: Sequence[tuple[UUID, int]], again: str) -> None:
        ids, seqs = [session_id for session_id, _ in found], [seq for _, seq in found]
        await execute(connection, _SQL["put_back"], session_ids=ids, seqs=seqs, again=again)

    async def waiting(self) -> int:
        """Return how many events are in the outbox."""
        async with self._database.connection() as connection:
            return int(await fetch_value(connection, _SQL["waiting"]))

    async def close(self) -> None:
        """Close the connection."""
        await self._database.close()
