"""The `store` of a contract's suite, once in memory and once in PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.drivers.postgres_store import PostgresStore
from tests.fakes.memory_store import MemoryStore


class OnMemory:
    """A base of the suites on the fake."""

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


class OnPostgres:
    """A base of the suites on PostgreSQL."""

    @pytest_asyncio.fixture
    async def store(self, database_url: str) -> AsyncIterator[PostgresStore]:
        store = PostgresStore(database_url)
        yield store
        await store.close()
