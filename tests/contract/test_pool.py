"""The warm pool's contract, on the fake and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.drivers.postgres_pool import PostgresPool
from jelmore.drivers.postgres_store import PostgresStore
from tests.contract.pool_contract import PoolContract
from tests.fakes.memory_pool import MemoryPool
from tests.fakes.memory_store import MemoryStore

pytestmark = pytest.mark.contract


class TestMemoryPool(PoolContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def pool(self, store: MemoryStore) -> MemoryPool:
        return MemoryPool(store)


@pytest.mark.integration
class TestPostgresPool(PoolContract):
    @pytest_asyncio.fixture
    async def store(self, database_url: str) -> AsyncIterator[PostgresStore]:
        store = PostgresStore(database_url)
        yield store
        await store.close()

    @pytest_asyncio.fixture
    async def pool(self, database_url: str) -> AsyncIterator[PostgresPool]:
        pool = PostgresPool(database_url, connections=12)
        yield pool
        await pool.close()
