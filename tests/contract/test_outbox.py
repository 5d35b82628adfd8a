"""The outbox's contract, on the fake and on PostgreSQL."""

import asyncio
from collections.abc import Callable

import pytest

from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.session.errors import DependencyError
from tests.contract.outbox_contract import OutboxContract, held
from tests.contract.stores import OnMemory, OnPostgres
from tests.fakes.memory_store import MemoryOutbox, MemoryStore

pytestmark = pytest.mark.contract


class TestMemoryOutbox(OnMemory, OutboxContract):
    @pytest.fixture
    def another(self, store: MemoryStore) -> Callable[[], MemoryOutbox]:
        lock = asyncio.Lock()
        return lambda: MemoryOutbox(store, lock)


@pytest.mark.integration
class TestPostgresOutbox(OnPostgres, OutboxContract):
    @pytest.fixture
    def another(self, store: PostgresStore, database_url: str) -> Callable[[], PostgresOutbox]:
        return lambda: PostgresOutbox(database_url, store.wrote)

    async def test_a_holder_that_hangs_loses_the_outbox(self, store: PostgresStore, database_url: str) -> None:
        hanging, other = PostgresOutbox(database_url, store.wrote, idle_s=0.5), PostgresOutbox(database_url)
        async with held(hanging) as lost:
            async with asyncio.timeout(10), held(other) as outbox:
                assert not await outbox.take(1)
            with pytest.raises(DependencyError):
                await lost.take(1)
