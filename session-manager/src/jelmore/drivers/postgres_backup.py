"""Saves every table of the database into files, from one snapshot, and loads them into an empty database.

It needs no program beside PostgreSQL's own protocol, so it works from the manager's image. Loading needs the same
migrations; an upgrade comes after it.
"""

import json
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from jelmore.drivers import sql
from jelmore.drivers.migrations import migrations
from jelmore.drivers.postgres_calls import DEPENDENCY, close, connect, execute, mapped
from jelmore.drivers.postgres_rows import Row
from jelmore.session.errors import RefusedError

HISTORY: Final = "schema_migrations"
EPHEMERAL: Final = frozenset({HISTORY, "leases", "stream_tickets"})
"""Tables that are not saved: who does what at the moment, and credentials that last for a minute."""

_COPY_S: Final = 3600.0
_SQL: Final = sql.queries("backup")


async def save(url: str, folder: Path) -> Mapping[str, Any]:
    """Write each table to `folder/TABLE.copy`; return what `load` needs to know. Raises DependencyError."""
    connection = await connect(url, _COPY_S)
    try:
        with mapped():
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                history = [dict(row) for row in await connection.fetch(_SQL["history"])]
                tables = {}
                for table, columns in (await _tables(connection)).items():
                    target = folder / f"{table}.copy"
                    await connection.copy_from_table(table, columns=columns, output=target, timeout=_COPY_S)
                    tables[table] = columns
        return {"migrations": history, "tables": tables}
    finally:
        await close(connection)


async def live_sessions(url: str) -> AbstractSet[UUID]:
    """Return the sessions that have not ended and have been ready once: each of them has a workspace."""
    connection = await connect(url, _COPY_S)
    try:
        with mapped():
            return {row["id"] for row in await connection.fetch(_SQL["live_sessions"])}
    finally:
        await close(connection)


async def load(url: str, folder: Path, saved: Mapping[str, Any]) -> None:
    """Load what `save` wrote into a migrated, empty database, in one transaction.

    Raises RefusedError when the database is not empty or the backup has other migrations.
    """
    ours = [{"number": each.number, "checksum": each.checksum} for each in migrations()]
    if list(saved["migrations"]) != ours:
        raise RefusedError(
            "backup", "it was made by another version: restore it with the version that made it, then upgrade"
        )
    connection = await connect(url, _COPY_S)
    try:
        with mapped():
            async with connection.transaction():
                if await connection.fetchval(_SQL["in_use"]):
                    raise RefusedError(DEPENDENCY, "the database is not empty; restore into an empty one")
                order = _ordered(list(saved["tables"]), await connection.fetch(_SQL["references"]))
                await connection.execute(_SQL["disable_positions"])
                for table in reversed(order):
                    await connection.execute(f'delete from "{table}"')  # noqa: S608 - a name of our own schema
                for table in order:
                    source = folder / f"{table}.copy"
                    columns = saved["tables"][table]
                    await connection.copy_to_table(table, columns=columns, source=source, timeout=_COPY_S)
                await connection.execute(_SQL["enable_positions"])
                for row in await connection.fetch(_SQL["sequences"]):
                    maximum = f'select max("{row["column"]}") from "{row["table"]}"'  # noqa: S608 - as above
                    values = {"sequence": row["sequence"], "newest": await connection.fetchval(maximum)}
                    await execute(connection, _SQL["continue_sequence"], **values)
                await connection.execute(_SQL["skip_positions"])
    finally:
        await close(connection)


async def drop(url: str) -> None:
    """Remove the database and everything in it. Absent is success."""
    name = url.partition("?")[0].rpartition("/")[2]
    connection = await connect(url, 10.0, database="postgres")
    try:
        with mapped():
            quoted = name.replace('"', '""')
            await connection.execute(f'drop database if exists "{quoted}" with (force)', timeout=60)
    finally:
        await close(connection)


async def _tables(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, list[str]]:
    """Return the tables to save with their columns, without generated ones."""
    found: dict[str, list[str]] = {}
    for row in await connection.fetch(_SQL["columns"]):
        if row["table"] not in EPHEMERAL:
            found.setdefault(row["table"], []).append(row["column"])
    return found


def _ordered(tables: Sequence[str], references: Sequence[Row]) -> list[str]:
    """Return the tables so that each comes after those that it refers to."""
    needs = {table: set[str]() for table in tables}
    for row in references:
        if row["table"] in needs and row["target"] in needs and row["table"] != row["target"]:
            needs[row["table"]].add(row["target"])
    order: list[str] = []
    while needs:
        ready = sorted(table for table, others in needs.items() if others <= set(order))
        if not ready:
            raise RefusedError("backup", f"tables refer to each other in a circle: {json.dumps(sorted(needs))}")
        order += ready
        for table in ready:
            del needs[table]
    return order
