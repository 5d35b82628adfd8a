"""Saves every table of the database into files, from one snapshot, and loads them into an empty database.

It needs no program beside PostgreSQL's own protocol, so it works from the manager's image. A backup is loaded into the
schema that it was made of, and migrated afterwards.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg

from jelmore.drivers import sql
from jelmore.drivers.migrations import create_database, migrate, migrations
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


async def prepare(url: str, saved: Mapping[str, Any]) -> None:
    """Give an empty database, missing or not, the schema of a backup. May run twice.

    A backup of an older version needs the schema of then: one that was migrated further is made again, which loses
    nothing, because it is empty. Raises RefusedError when it is not, or when the backup is of a newer version.
    """
    numbers = _numbers(saved)
    await create_database(url)
    connection = await connect(url, _COPY_S)
    try:
        with mapped():
            found = await connection.fetchval(_SQL["schema_exists"])
            history = {row["number"] for row in await connection.fetch(_SQL["history"])} if found else set()
            if history:
                await _must_be_empty(connection)
            if not history <= numbers:
                async with connection.transaction():
                    await connection.execute(_SQL["drop_schema"])
                    await connection.execute(_SQL["make_schema"])
    finally:
        await close(connection)
    await migrate(url, only=numbers)


async def load(url: str, folder: Path, saved: Mapping[str, Any], loaded: Callable[[], None] = lambda: None) -> None:
    """Load what `save` wrote into a database that `prepare` has prepared, in one transaction; then migrate it.

    Calls `loaded` once the transaction is committed: what fails after that leaves a whole database.
    Raises RefusedError when the database is not empty or has other migrations than the backup.
    """
    numbers = _numbers(saved)
    connection = await connect(url, _COPY_S)
    try:
        with mapped():
            async with connection.transaction():
                if {row["number"] for row in await connection.fetch(_SQL["history"])} != numbers:
                    raise RefusedError(DEPENDENCY, "the database has another schema than the backup")
                await _must_be_empty(connection)
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
            loaded()
    finally:
        await close(connection)
    await migrate(url)


def _numbers(saved: Mapping[str, Any]) -> set[int]:
    """Return the numbers of the backup's migrations. Raises RefusedError when this version does not know them."""
    ours = {each.number: each.checksum for each in migrations()}
    if not saved["migrations"] or any(ours.get(row["number"]) != row["checksum"] for row in saved["migrations"]):
        raise RefusedError(
            "backup",
            "it was made by a newer or another version: restore it with the version that made it, then upgrade",
        )
    return {row["number"] for row in saved["migrations"]}


async def _must_be_empty(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    if await connection.fetchval(_SQL["in_use"]):
        raise RefusedError(DEPENDENCY, "the database is not empty; restore into an empty one")


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
