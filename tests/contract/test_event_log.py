"""The event log's contract, on the fake and on PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator, Callable

import asyncpg
import pytest
import pytest_asyncio

from jelmore.drivers.postgres_event_log import PostgresEventLog
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.ports import Store
from tests.contract.event_log_contract import EventLogContract
from tests.fakes.memory_event_log import MemoryEventLog
from tests.fakes.memory_store import MemoryStore
from tests.support.records import created, draft

pytestmark = pytest.mark.contract


class TestMemoryEventLog(EventLogContract):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def log(self, store: MemoryStore) -> MemoryEventLog:
        return MemoryEventLog(store)

    @pytest.fixture
    def another(self, log: MemoryEventLog) -> Callable[[], MemoryEventLog]:
        return lambda: log

    async def publish(self, store: Store) -> None:
        assert isinstance(store, MemoryStore)
        store.outbox.clear()


@pytest.mark.integration
class TestPostgresEventLog(EventLogContract):
    @pytest_asyncio.fixture
    async def store(self, database_url: str) -> AsyncIterator[PostgresStore]:
        self.url = database_url
        store = PostgresStore(database_url)
        yield store
        await store.close()

    @pytest_asyncio.fixture
    async def log(self, store: PostgresStore, database_url: str) -> AsyncIterator[PostgresEventLog]:
        log = PostgresEventLog(database_url, store.arrived)
        yield log
        await log.close()

    @pytest_asyncio.fixture
    async def another(self, store: PostgresStore, database_url: str) -> AsyncIterator[Callable[[], PostgresEventLog]]:
        made: list[PostgresEventLog] = []

        def make() -> PostgresEventLog:
            made.append(PostgresEventLog(database_url, store.arrived, connections=2))
            return made[-1]

        yield make
        await asyncio.gather(*(log.close() for log in made))

    async def publish(self, store: Store) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute("delete from outbox")
        await connection.close()

    async def test_an_event_that_commits_late_gets_a_late_position(
        self, store: PostgresStore, log: PostgresEventLog
    ) -> None:
        """The order of ids is not the order of commits: a cursor over ids would pass over the first event."""
        early, late = await created(store), await created(store)
        connection = await asyncpg.connect(self.url)
        insert = (
            "insert into events (session_id, seq, type, at, payload, version) "
            "values ($1, 1, 'session.idle', now(), '{}', 1)"
        )
        async with connection.transaction():
            await connection.execute(insert, early.id)
            await store.save(late, [draft(1)])
            assert await log.number() == 1
        assert await log.number() == 2
        assert [row["session_id"] for row in await connection.fetch("select * from event_log order by position")] == [
            late.id,
            early.id,
        ]
        await connection.close()
