"""The schema on a real server: created, migrated, refused when behind, reset."""

import asyncio
from collections import defaultdict
from importlib.resources import files

import asyncpg
import pytest

from jelmore.drivers import sql
from jelmore.drivers.migrations import create_database, migrate, migrations, reset
from jelmore.drivers.postgres_list import page_query, total_query
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.embedded import Postgres
from jelmore.ports import ListQuery, Sort
from jelmore.session.errors import FaultError, RefusedError
from tests.support.records import created
from tests.support.servers import database

pytestmark = pytest.mark.integration


async def test_every_query_is_valid(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    names = [entry.name.removesuffix(".sql") for entry in files(sql).iterdir() if entry.name.endswith(".sql")]
    assert len(names) >= 5
    texts = [text for name in names if name != "list" for text in sql.queries(name).values()]
    prepared = [sql.bind(text.replace("{table}", "output"), defaultdict(str))[0] for text in texts]
    for sort in Sort:  # lists are composed of several queries
        asked = ListQuery(sort=sort, words="words")
        prepared += [page_query(asked)[0], total_query(asked)[0]]
    for numbered in prepared:
        await connection.prepare(numbered)  # fails on any name or type that is wrong
    await connection.close()


async def test_the_database_is_made_once_however_many_ask(postgres_server: Postgres) -> None:
    url = database(postgres_server, 'odd "name" é')
    store = PostgresStore(url)
    try:
        assert (await asyncio.gather(*(create_database(url) for _ in range(4)))).count(True) == 1
        with pytest.raises(RefusedError, match="make db-migrate"):
            await store.check()
        done = await asyncio.gather(*(migrate(url) for _ in range(4)))
        assert max(done, key=len) == [migration.name for migration in migrations()]
        assert sum(map(len, done)) == len(migrations())
        await store.check()
        await created(store)
        await reset(url)
        assert await store.count() == 0
        await reset(url)
    finally:
        await store.close()


async def test_a_schema_behind_or_edited_is_refused_and_a_newer_one_is_not(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    store = PostgresStore(database_url)
    await connection.execute("insert into schema_migrations (number, name, checksum) values (9999, 'newer', 'x')")
    await store.check()
    await connection.execute("update schema_migrations set checksum = 'edited' where number = 1")
    with pytest.raises(RefusedError, match="0001_sessions"):
        await store.check()
    with pytest.raises(RefusedError, match="0001_sessions"):
        await migrate(database_url)
    await connection.execute("delete from schema_migrations where number = 1")
    with pytest.raises(RefusedError, match="make db-migrate"):
        await store.check()
    await store.close()
    await connection.close()


async def test_a_refusal_of_a_database_or_a_server_is_no_dependency_error(postgres_server: Postgres) -> None:
    store = PostgresStore(database(postgres_server, "absent"))
    with pytest.raises(RefusedError):
        await store.check()
    await store.close()


@pytest.mark.parametrize(
    "statement",
    [
        "update sessions set status = 'terminated'",
        "update sessions set ended_at = now()",
        "update sessions set status = 'asleep'",
        "update sessions set metadata = '[]'",
        "update sessions set version = 0",
        "insert into signing_keys (private_key) values ('a'); insert into signing_keys (private_key) values ('b')",
        "insert into outbox (session_id, seq) select id, 99 from sessions",
    ],
)
async def test_the_database_refuses_what_must_not_be(database_url: str, statement: str) -> None:
    connection = await asyncpg.connect(database_url)
    store = PostgresStore(database_url)
    await created(store)
    with pytest.raises(asyncpg.IntegrityConstraintViolationError):
        await connection.execute(statement)
    await store.close()
    await connection.close()


async def test_a_bug_is_not_reported_as_a_dependency_failure(database_url: str) -> None:
    store = PostgresStore(database_url)
    with pytest.raises(FaultError):
        await created(store, restarts=-1)
    await store.close()
