"""The gateway store's contract, on the fake and on PostgreSQL."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.drivers.postgres_gateway import PostgresGateway
from jelmore.drivers.postgres_store import PostgresStore
from tests.contract.gateway_store_contract import GatewayStoreContract, Stores
from tests.fakes.memory_gateway import MemoryGateway
from tests.fakes.memory_store import MemoryStore

pytestmark = pytest.mark.contract


class TestMemoryGateway(GatewayStoreContract):
    @pytest.fixture
    def stores(self) -> Stores:
        store = MemoryStore()
        return Stores(MemoryGateway(store), store)


@pytest.mark.integration
class TestPostgresGateway(GatewayStoreContract):
    @pytest_asyncio.fixture
    async def stores(self, database_url: str) -> AsyncIterator[Stores]:
        gateway, sessions = PostgresGateway(database_url), PostgresStore(database_url)
        yield Stores(gateway, sessions)
        await gateway.close()
        await sessions.close()
