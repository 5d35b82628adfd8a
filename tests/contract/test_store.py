"""The store's contract, on the fake and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.drivers.postgres_store import PostgresStore
from tests.contract.keys_contract import KeysContract
from tests.contract.session_list_contract import SessionListContract
from tests.contract.store_contract import StoreContract
from tests.fakes.memory_store import MemoryStore

pytestmark = pytest.mark.contract


class TestMemoryStore(StoreContract, SessionListContract, KeysContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()


@pytest.mark.integration
class TestPostgresStore(StoreContract, SessionListContract, KeysContract):
    @pytest_asyncio.fixture
    async def store(self, database_url: str) -> AsyncIterator[PostgresStore]:
        store = PostgresStore(database_url)
        yield store
        await store.close()
