"""No library's error leaves its driver: every class it has is mapped."""

import inspect
from typing import Any

import asyncpg
import pytest
import redis.exceptions
from asyncpg import exceptions as postgres_exceptions

from jelmore.drivers.postgres_calls import mapped
from jelmore.drivers.redis_calls import deadline
from jelmore.session.errors import DependencyError, FaultError, JelmoreError, RefusedError, StaleError


def _classes(module: Any, base: type[Exception]) -> list[type[Exception]]:
    return [kind for _, kind in inspect.getmembers(module, inspect.isclass) if issubclass(kind, base)]


OF_POSTGRES = [
    *_classes(postgres_exceptions, asyncpg.PostgresError),
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    postgres_exceptions.DataError,
    OSError,
    ConnectionResetError,
    TimeoutError,
    EOFError,
]


@pytest.mark.parametrize("kind", OF_POSTGRES)
def test_what_postgres_raises_is_ours(kind: type[Exception]) -> None:
    with pytest.raises(JelmoreError), mapped():
        raise kind("words")


@pytest.mark.parametrize(
    ("kind", "ours"),
    [
        (asyncpg.CannotConnectNowError, DependencyError),
        (asyncpg.AdminShutdownError, DependencyError),
        (asyncpg.TooManyConnectionsError, DependencyError),
        (asyncpg.DeadlockDetectedError, DependencyError),
        (asyncpg.DiskFullError, DependencyError),
        (asyncpg.IdleInTransactionSessionTimeoutError, DependencyError),
        (asyncpg.ReadOnlySQLTransactionError, DependencyError),
        (asyncpg.InvalidPasswordError, RefusedError),
        (asyncpg.InvalidCatalogNameError, RefusedError),
        (asyncpg.UndefinedTableError, RefusedError),
        (asyncpg.CheckViolationError, FaultError),
        (asyncpg.UntranslatableCharacterError, FaultError),
    ],
)
def test_bad_luck_refusals_and_bugs_are_told_apart(kind: type[Exception], ours: type[JelmoreError]) -> None:
    with pytest.raises(ours), mapped():
        raise kind("words")


def test_our_own_errors_and_bugs_pass() -> None:
    with pytest.raises(StaleError), mapped():
        raise StaleError("x")
    with pytest.raises(ZeroDivisionError), mapped():
        raise ZeroDivisionError


@pytest.mark.parametrize("kind", [*_classes(redis.exceptions, redis.exceptions.RedisError), OSError, EOFError])
async def test_what_redis_raises_is_ours(kind: type[Exception]) -> None:
    with pytest.raises((DependencyError, RefusedError)):
        async with deadline(1):
            raise kind("1 host:1")


async def test_a_wrong_password_is_not_worth_a_retry() -> None:
    with pytest.raises(RefusedError):
        async with deadline(1):
            raise redis.exceptions.AuthenticationError("words")
