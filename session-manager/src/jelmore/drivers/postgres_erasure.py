"""Erases sessions from PostgreSQL: every row of every table that has a session's id, found in the catalogue.

A list of tables in the code would miss the one that is added next.
"""

import asyncio
import json
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Connection, Database, execute, fetch_row, fetch_value
from jelmore.drivers.postgres_rows import Row
from jelmore.ports.erasure import Erasure
from jelmore.session.errors import FaultError, StaleError, UnknownSessionError
from jelmore.session.events import EventType
from jelmore.session.plain_text import to_json

_SQL = sql.queries("erasure")
_HISTORY = sql.queries("history")
_SYSTEM: Final = UUID(int=0)
_TIMEOUT_S: Final = 120.0
"""A session may have gigabytes of output."""


class PostgresErasure:
    """The `ErasureStore` port. Sets `wrote` after an erasure, to wake the outbox of this process."""

    def __init__(self, url: str, wrote: asyncio.Event | None = None) -> None:
        self._wrote = wrote or asyncio.Event()
        self._database = Database(url, connections=2, timeout_s=_TIMEOUT_S)

    async def erased(self, session_id: UUID) -> Erasure | None:
        """Return the proof of an earlier erasure; see the port."""
        row = await self._database.row(_SQL["erased"], session_id=session_id)
        return None if row is None else _erasure(row)

    async def unpublished(self, session_id: UUID) -> bool:
        """Return whether events of the session wait to be published."""
        row = await self._database.row(_SQL["unpublished"], session_id=session_id)
        return row is not None and bool(row["unpublished"])

    async def erase(self, session_id: UUID, by: str, elsewhere: Mapping[str, int]) -> Erasure:
        """Delete every row of an ended session; see the port."""
        async with self._database.transaction() as connection:
            await connection.execute(_SQL["lock_numbering"])
            owner = await self._lock(connection, session_id)
            tables = [row["table_name"] for row in await connection.fetch(_SQL["tables"])]
            found = await _rows(connection, tables, session_id)
            for table in tables:
                query = _SQL["delete_rows"].replace("{table}", _quoted(table))
                await execute(connection, query, session_id=session_id)
            await execute(connection, _SQL["delete_record"], session_id=session_id)
            remaining = await _rows(connection, tables, session_id)
            payload = {"session_id": str(session_id), "owner": owner, "by": by}
            await execute(
                connection,
                _HISTORY["note"],
                session_id=_SYSTEM,
                type=EventType.SYSTEM_SESSION_ERASED,
                payload=to_json(payload),
                output_seq=None,
            )
            proof = await fetch_row(
                connection,
                _SQL["keep_proof"],
                session_id=session_id,
                owner=owner,
                erased_by=by,
                found=to_json({**elsewhere, **found}),
                remaining=to_json({**dict.fromkeys(elsewhere, 0), **remaining}),
            )
        self._wrote.set()
        if proof is None:
            raise FaultError("postgres: the proof of an erasure was not stored")
        return _erasure(proof)

    async def _lock(self, connection: Connection, session_id: UUID) -> str:
        row = await fetch_row(connection, _SQL["lock_session"], session_id=session_id)
        if row is None:
            raise UnknownSessionError(session_id)
        if row["live"] or row["unpublished"]:
            why = "is live" if row["live"] else "has events that are not published yet"
            raise StaleError(f"session {session_id} {why}: it cannot be erased now")
        return str(row["owner"])

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


async def _rows(connection: Connection, tables: Sequence[str], session_id: UUID) -> dict[str, int]:
    """Return how many rows of the session each table has."""
    found = {"sessions": int(await fetch_value(connection, _SQL["count_records"], session_id=session_id))}
    for table in tables:
        query = _SQL["count_rows"].replace("{table}", _quoted(table))
        found[table] = int(await fetch_value(connection, query, session_id=session_id))
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _erasure(row: Row) -> Erasure:
    return Erasure(
        session_id=row["session_id"],
        owner=row["owner"],
        erased_at=row["erased_at"],
        erased_by=row["erased_by"],
        found=json.loads(row["found"]),
        remaining=json.loads(row["remaining"]),
    )
