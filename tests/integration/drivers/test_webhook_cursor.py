"""The cursor of the webhooks is started once, however many managers ask for it first."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from jelmore.drivers.postgres_webhooks import PostgresWebhooks
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
async def webhooks(database_url: str) -> AsyncIterator[PostgresWebhooks]:
    store = PostgresWebhooks(database_url)
    yield store
    await store.close()


async def test_one_that_another_manager_starts_at_the_same_moment_is_waited_for(
    webhooks: PostgresWebhooks, database_url: str
) -> None:
    other, observer = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        starting = other.transaction()
        await starting.start()
        await other.execute("insert into webhook_cursor (position) values (7)")
        asked = asyncio.create_task(webhooks.cursor(), name="cursor")

        async def waits() -> bool:
            return bool(await observer.fetchval("select count(*) from pg_locks where not granted"))

        await until(waits, what="the insert waits for the other one")
        await starting.commit()
        assert await asked == 7
    finally:
        await other.close()
        await observer.close()
