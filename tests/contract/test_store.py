"""The store's contract, on the fake and on PostgreSQL."""

import asyncio
from dataclasses import replace

import pytest

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import SERVER_SETTINGS, Database
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.ports import ListQuery
from jelmore.session.errors import DependencyError, FaultError
from tests.contract.keys_contract import KeysContract
from tests.contract.session_list_contract import SessionListContract
from tests.contract.store_contract import StoreContract
from tests.contract.stores import OnMemory, OnPostgres
from tests.support.records import created

pytestmark = pytest.mark.contract


class TestMemoryStore(OnMemory, StoreContract, SessionListContract, KeysContract):
    pass


@pytest.mark.integration
class TestPostgresStore(OnPostgres, StoreContract, SessionListContract, KeysContract):
    async def test_what_a_list_shows_cannot_be_saved(self, store: PostgresStore) -> None:
        session = await created(store)
        [shown], _ = await store.list(ListQuery(limit=1))
        with pytest.raises(FaultError, match="lacks fields"):
            await store.save(replace(shown, title="t"), [])
        with pytest.raises(FaultError, match="lacks fields"):
            await store.revive(shown, [], most_live=9)
        assert await store.load(session.id) == session

    async def test_a_manager_that_hangs_in_a_create_loses_the_lock_of_the_slots(
        self, store: PostgresStore, database_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = "idle_in_transaction_session_timeout"
        monkeypatch.setitem(SERVER_SETTINGS, name, str(int(SERVER_SETTINGS[name]) // 60))
        hanging = Database(database_url, connections=1, timeout_s=30)

        freed = asyncio.Event()

        async def hang() -> None:
            async with hanging.transaction() as connection:
                await connection.execute(sql.queries("sessions")["lock_slots"])
                async with asyncio.timeout(9):
                    await created(store)
                freed.set()

        with pytest.raises(DependencyError):
            await hang()
        assert freed.is_set()
        await hanging.close()
