"""The usage store's contract, on the fake and on PostgreSQL; and what stays after an erasure."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.postgres_usage import PostgresUsage
from jelmore.ports.usage import UsageBy, UsageQuery
from tests.contract.stores import OnMemory, OnPostgres
from tests.contract.usage_contract import NOON, UsageContract, spent, turn
from tests.fakes.memory_store import MemoryStore
from tests.fakes.memory_usage import MemoryUsage
from tests.support.records import ended

pytestmark = pytest.mark.contract


class TestMemoryUsage(OnMemory, UsageContract):
    @pytest.fixture
    def usage(self, store: MemoryStore) -> MemoryUsage:
        return MemoryUsage(store)


@pytest.mark.integration
class TestPostgresUsage(OnPostgres, UsageContract):
    @pytest_asyncio.fixture
    async def usage(self, database_url: str) -> AsyncIterator[PostgresUsage]:
        usage = PostgresUsage(database_url)
        yield usage
        await usage.close()

    async def test_sums_by_day_outlive_a_forgotten_session(self, store: PostgresStore, usage: PostgresUsage) -> None:
        session = await spent(store, turn(1, NOON, 0.5))
        await store.save(*ended(session)[:1], [])
        await store.forget(session.id)
        by_day, by_session = (UsageQuery(by, NOON.date(), NOON.date()) for by in (UsageBy.DAY, UsageBy.SESSION))
        assert (await usage.usage(by_day))[0].cost_usd == 0.5
        assert (await usage.usage(by_session))[0].cost_usd == 0
