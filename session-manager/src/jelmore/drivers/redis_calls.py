"""Connections to Redis or Valkey: every call has a deadline, and redis-py's errors do not leave this file."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final
from uuid import UUID

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthenticationWrongNumberOfArgsError,
    AuthorizationError,
    NoPermissionError,
    OutOfMemoryError,
    RedisError,
)

from jelmore.session.errors import DependencyError, RefusedError

DEPENDENCY: Final = "redis"
FIELD: Final = "t"
"""The field of a stream entry that holds the line."""

_SCAN_COUNT: Final = 1000
_REFUSALS = (AuthenticationError, AuthenticationWrongNumberOfArgsError, AuthorizationError, NoPermissionError)


class FullError(DependencyError):
    """Redis has no memory for a write. Reading, deleting and publishing still work."""

    def __init__(self) -> None:
        super().__init__(DEPENDENCY, "full: it refuses writes until memory is freed (maxmemory)")


@asynccontextmanager
async def deadline(seconds: float) -> AsyncIterator[None]:
    """Run the block with a deadline, and convert errors of redis-py and the socket to ours."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except _REFUSALS as error:
        raise RefusedError(DEPENDENCY, str(error)) from None
    except OutOfMemoryError:
        raise FullError from None
    except TimeoutError:
        raise DependencyError(DEPENDENCY, "no answer in time") from None
    except (RedisError, OSError, EOFError) as error:
        raise DependencyError(DEPENDENCY, f"{type(error).__name__}: {error}") from None


def client_for_calls(url: str, *, connections: int, timeout_s: float) -> Redis:
    """Return a client whose calls share a few connections and wait for a free one.

    A failed call is repeated once, immediately: a pooled connection may be to a server that has restarted. Every call
    here may run twice.
    """
    pool: Any = BlockingConnectionPool.from_url(
        url, max_connections=connections, timeout=timeout_s, retry=Retry(NoBackoff(), 1), **_options(timeout_s)
    )
    return Redis.from_pool(pool)


def client_for_waiting(url: str, *, timeout_s: float) -> Redis:
    """Return a client for blocking calls: no limit on the time to answer, and no retry that hides a lost connection."""
    return Redis.from_url(url, retry=Retry(NoBackoff(), 0), **{**_options(timeout_s), "socket_timeout": None})


def _options(timeout_s: float) -> dict[str, Any]:
    # Protocol version 2, because the form of answers in version 3 depends on the library's version.
    answers = {"protocol": 2, "decode_responses": True, "encoding_errors": "replace"}
    return {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s, **answers}


def output_key(session_id: UUID) -> str:
    """Return the name of a session's stream."""
    return f"session:{session_id}:output"


async def output_keys(client: Any, timeout_s: float) -> AsyncIterator[list[str]]:
    """Yield the names of all sessions' streams in batches. A name may come twice."""
    cursor = 0
    while True:
        async with deadline(timeout_s):
            cursor, keys = await client.scan(cursor, match="session:*:output", count=_SCAN_COUNT)
        yield keys
        if not int(cursor):
            return


def attendance_key(session_id: UUID) -> str:
    """Return the name of the hash that says who has a session open."""
    return f"session:{session_id}:attendance"


def live_channel(session_id: UUID) -> str:
    """Return the name of a session's channel for deltas and states."""
    return f"session:{session_id}:live"
