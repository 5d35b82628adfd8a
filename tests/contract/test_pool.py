"""The warm pool's contract, on the fake and on PostgreSQL."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from jelmore.drivers.postgres_pool import PostgresPool
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.session.warm_start import WarmStart
from tests.contract.pool_contract import PoolContract, create, ready
from tests.contract.stores import OnMemory, OnPostgres
from tests.fakes.memory_pool import MemoryPool
from tests.fakes.memory_store import MemoryStore

pytestmark = pytest.mark.contract


class TestMemoryPool(OnMemory, PoolContract):
    @pytest.fixture
    def pool(self, store: MemoryStore) -> MemoryPool:
        return MemoryPool(store)


@pytest.mark.integration
class TestPostgresPool(OnPostgres, PoolContract):
    @pytest_asyncio.fixture
    async def pool(self, database_url: str) -> AsyncIterator[PostgresPool]:
        pool = PostgresPool(database_url, connections=12)
        yield pool
        await pool.close()

    async def test_members_that_nobody_has_seen_for_a_minute_are_not_claimed(
        self, store: PostgresStore, pool: PostgresPool, database_url: str
    ) -> None:
        member_id = await ready(pool)
        connection = await asyncpg.connect(database_url)
        await connection.execute("update leases set expires_at = expires_at - interval '60 seconds'")
        await connection.close()
        assert (await create(store)).warm_start is WarmStart.NONE
        await pool.confirm()
        assert (await create(store)).id == member_id
