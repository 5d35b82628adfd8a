"""Creates, migrates, checks and resets the schema. Migrations are numbered files and only go forward."""

import asyncio
import contextlib
import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import DEPENDENCY, Connection, close, connect, execute, fetch_value, mapped
from jelmore.session.errors import RefusedError

_CALL_S = 10.0
_MIGRATION_S = 600.0
"""A migration may rewrite a large table."""

_SQL = sql.queries("schema")


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    number: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The digest that shows whether the file was edited after it ran."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@cache
def migrations() -> tuple[Migration, ...]:
    """Return every migration, in order."""
    names = sql.migration_names()
    return tuple(Migration(int(name[:4]), name, sql.text(f"migrations/{name}")) for name in names)


async def create_database(url: str) -> bool:
    """Create the database that the URL names; return whether it was missing. May run twice, also concurrently.

    When the database exists, the right to create one is not needed.
    """
    name = _database(url)
    with contextlib.suppress(RefusedError):  # a refusal for any other reason is raised below
        await close(await connect(url, _CALL_S))
        return False
    connection = await connect(url, _CALL_S, database="postgres")
    try:
        with mapped():
            if await fetch_value(connection, _SQL["database_exists"], name=name):
                return False
            try:
                await connection.execute(f"create database {_quoted(name)}")
            except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
                return False
            return True
    finally:
        await close(connection)


async def migrate(url: str, only: Collection[int] | None = None) -> list[str]:
    """Run the missing migrations, or those of the numbers `only`; return their names. May run twice, also concurrently.

    Raises RefusedError when a migration was edited after it ran.
    """
    connection = await connect(url, _CALL_S)
    try:
        with mapped():
            # The lock belongs to the connection, so a crash releases it.
            await connection.execute(_SQL["lock_schema"], timeout=_MIGRATION_S)
            await connection.execute(_SQL["make_history"])
            done = []
            for migration in _missing(await _history(connection)):
                if only is not None and migration.number not in only:
                    continue
                async with asyncio.timeout(_MIGRATION_S), connection.transaction():
                    await connection.execute(migration.text, timeout=_MIGRATION_S)
                    values = {"number": migration.number, "name": migration.name, "checksum": migration.checksum}
                    await execute(connection, _SQL["remember_migration"], **values)
                done.append(migration.name)
            return done
    finally:
        await close(connection)


async def reset(url: str) -> None:
    """Delete the database and all data in it, end all connections to it, and create it again. May run twice."""
    connection = await connect(url, _CALL_S, database="postgres")
    try:
        with mapped():
            await connection.execute(f"drop database if exists {_quoted(_database(url))} with (force)", timeout=60)
    finally:
        await close(connection)
    await create_database(url)
    await migrate(url)


async def check_schema(connection: Connection) -> None:
    """Return when the schema is at least the version that this code needs. Raises RefusedError with what to do."""
    try:
        missing = _missing(await _history(connection))
    except asyncpg.UndefinedTableError:
        missing = list(migrations())
    if missing:
        names = ", ".join(migration.name for migration in missing)
        raise RefusedError(DEPENDENCY, f"the schema lacks {names}; run `make db-migrate`")


async def _history(connection: Connection) -> dict[int, str]:
    return {row["number"]: row["checksum"] for row in await connection.fetch(_SQL["history"])}


def _missing(history: dict[int, str]) -> list[Migration]:
    """Return the migrations that have not run. A newer schema is accepted: migrations keep older code working."""
    for migration in migrations():
        if history.get(migration.number, migration.checksum) != migration.checksum:
            raise RefusedError(
                DEPENDENCY, f"{migration.name} was edited after it ran here; add a new migration instead"
            )
    return [migration for migration in migrations() if migration.number not in history]


def _database(url: str) -> str:
    parts = urlsplit(url)
    wanted = parse_qs(parts.query)
    name = unquote(parts.path.removeprefix("/")) or wanted.get("dbname", wanted.get("database", [""]))[0]
    name = name or unquote(parts.username or "")
    if not name:
        raise RefusedError(DEPENDENCY, "DATABASE_URL names no database")
    return name


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
