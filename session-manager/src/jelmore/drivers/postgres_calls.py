"""Connections to PostgreSQL: every call has a deadline, and asyncpg's errors do not leave this file."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from jelmore.drivers import sql
from jelmore.session.errors import DependencyError, FaultError, JelmoreError, RefusedError

type Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

DEPENDENCY: Final = "postgres"

SERVER_SETTINGS: Final = {
    "application_name": "jelmore",
    "jit": "off",  # our queries are short; compiling them takes longer than running them
    "timezone": "UTC",
    # A manager that hangs must not keep a session's row or the slot lock from others.
    "idle_in_transaction_session_timeout": "30000",
    # A manager whose host has died must not hold the outbox for the kernel's default of two hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
}

_AWAY: Final = re.compile("08|25006|25P03|40|53|55|57|58|XX")
"""Retryable SQLSTATEs: lost connection, standby, conflict, no resources, lock, shutdown, internal error."""

_NO_FOR_GOOD: Final = re.compile("0A|28|3D|3F|42")
"""Permanent SQLSTATEs: unknown user, database, schema or table, and missing rights."""


@contextmanager
def mapped() -> Iterator[None]:
    """Convert errors of asyncpg, the socket or a deadline to ours."""
    try:
        yield
    except JelmoreError:
        raise
    except asyncpg.PostgresError as error:
        raise _of_server(error) from None
    except asyncpg.exceptions.DataError as error:
        raise FaultError(f"postgres: {error}") from error
    except TimeoutError:
        raise DependencyError(DEPENDENCY, "no answer in time") from None
    except (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, EOFError) as error:
        raise DependencyError(DEPENDENCY, f"{type(error).__name__}: {error}") from None


def _of_server(error: asyncpg.PostgresError) -> JelmoreError:
    state, text = error.sqlstate or "", f"{error} (SQLSTATE {error.sqlstate})"
    if _AWAY.match(state):
        return DependencyError(DEPENDENCY, text)
    if _NO_FOR_GOOD.match(state):
        return RefusedError(DEPENDENCY, text)
    if not state:  # asyncpg's own subclass for a lost connection has none
        return DependencyError(DEPENDENCY, text)
    return FaultError(f"postgres: {text}")


async def connect(url: str, timeout_s: float, **options: Any) -> "asyncpg.Connection[asyncpg.Record]":
    """Return a new connection outside the pool. Raises DependencyError or RefusedError."""
    with mapped():
        async with asyncio.timeout(timeout_s):
            return await asyncpg.connect(
                url, timeout=timeout_s, command_timeout=timeout_s, server_settings=SERVER_SETTINGS, **options
            )


async def close(connection: "asyncpg.Connection[asyncpg.Record]", timeout_s: float = 2.0) -> None:
    """Close a connection, cleanly if the server answers in time. Never raises."""
    try:
        await asyncio.shield(connection.close(timeout=timeout_s))
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        connection.terminate()


async def fetch(connection: Connection, query: str, /, **values: object) -> Sequence[asyncpg.Record]:
    """Return the rows of a query on a connection. `values` are its `:name` parameters. Raises asyncpg's errors."""
    numbered, given = sql.bind(query, values)
    return await connection.fetch(numbered, *given)


async def fetch_row(connection: Connection, query: str, /, **values: object) -> asyncpg.Record | None:
    """Return the first row, None when there is none; as `fetch`."""
    numbered, given = sql.bind(query, values)
    return await connection.fetchrow(numbered, *given)


async def fetch_value(connection: Connection, query: str, /, **values: object) -> Any:
    """Return the first column of the first row, None when there is none; as `fetch`."""
    numbered, given = sql.bind(query, values)
    return await connection.fetchval(numbered, *given)


async def execute(connection: Connection, query: str, /, **values: object) -> None:
    """Run a statement and drop what it returns; as `fetch`."""
    numbered, given = sql.bind(query, values)
    await connection.execute(numbered, *given)


async def _nothing_to_reset(_: Connection) -> None:
    """Leave out the round trip that asyncpg makes before a connection is used again.

    Nothing outlives its transaction: settings are `set local`, advisory locks end with it, and whoever listens has a
    connection of its own. asyncpg itself still rolls an open transaction back.
    """


class Database:
    """A pool of connections that opens with the first call and recovers after an outage of the server."""

    def __init__(self, url: str, *, connections: int, timeout_s: float) -> None:
        self._url = url
        self._connections = connections
        self._timeout_s = timeout_s
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def rows(self, query: str, /, **values: object) -> Sequence[asyncpg.Record]:
        """Return the rows of a query. `values` are its `:name` parameters."""
        async with self.connection() as connection:
            return await fetch(connection, query, **values)

    async def row(self, query: str, /, **values: object) -> asyncpg.Record | None:
        """Return the first row of a query, None when there is none. `values` are its `:name` parameters."""
        async with self.connection() as connection:
            return await fetch_row(connection, query, **values)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection. The deadline covers the whole block."""
        with mapped():
            async with asyncio.timeout(self._timeout_s):
                pool = await self._opened()
                async with pool.acquire(timeout=self._timeout_s) as connection:
                    try:
                        yield connection
                    except (asyncio.CancelledError, TimeoutError):
                        # Its query still runs. Returning the connection normally would wait for a server that hangs.
                        connection.terminate()
                        raise

    @asynccontextmanager
    async def transaction(self, first: str = "") -> AsyncIterator[Connection]:
        """Lend a connection inside a transaction, which is rolled back when the block raises.

        `first` is a statement without parameters that runs in it before the block, without a round trip of its own.
        """
        if not first:
            async with self.connection() as connection, connection.transaction():
                yield connection
            return
        async with self.connection() as connection:
            await connection.execute(f"begin; {first}")
            try:
                yield connection
            except (asyncio.CancelledError, TimeoutError):
                raise  # the connection is closed
            except BaseException:
                await connection.execute("rollback")
                raise
            await connection.execute("commit")

    async def _opened(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            # With a minimum size of 0, opening makes no connection, so it cannot fail half-way.
            self._pool = asyncpg.create_pool(
                self._url,
                min_size=0,
                max_size=self._connections,
                timeout=self._timeout_s,
                command_timeout=self._timeout_s,
                server_settings=SERVER_SETTINGS,
                reset=_nothing_to_reset,
            )
        await self._pool  # returns at once when the pool is open
        return self._pool

    async def close(self) -> None:
        """Close every connection. Calls still running after the deadline are cancelled."""
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                with mapped():
                    await asyncio.wait_for(pool.close(), self._timeout_s)
            except DependencyError:
                pool.terminate()
