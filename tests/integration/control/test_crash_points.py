"""The crash points of the control plane once more, over the real PostgreSQL: its transactions are what they rest on.

The points are sampled, as these lives wait in real time; `tests/unit/control` takes every one.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
import pytest_asyncio

from jelmore.drivers.postgres_leases import PostgresLeases
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_pool import PostgresPool
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.system_clock import SystemClock
from jelmore.ports import Clock, Leases, Outbox, PoolStore, Store
from tests.support.log_settings import quiet
from tests.unit.control.crashing import Fault
from tests.unit.control.lives import (
    Life,
    created_and_deleted,
    dead_and_deleted,
    ended_and_resumed,
    essence,
    killed_and_restarted,
    play,
)
from tests.unit.control.world import World

pytestmark = pytest.mark.integration


@dataclass
class PostgresWorld(World):
    """A world whose truth is in PostgreSQL."""

    url: str = ""
    clock: Clock = field(default_factory=SystemClock)
    look_s: float = 0.02
    leased: list[PostgresLeases] = field(default_factory=list)

    def make_store(self) -> Store:
        store: Store = self.store
        return store

    def make_pool(self) -> PoolStore:
        return PostgresPool(self.url)

    def make_outbox(self) -> Outbox:
        return PostgresOutbox(self.url, self.store.wrote)

    def make_leases(self, holder: str) -> Leases:
        leases = PostgresLeases(self.url, holder)
        self.leased.append(leases)
        return leases

    async def fresh(self) -> "PostgresWorld":
        """Return another world on the same database; sessions of earlier worlds have no business in it."""
        for leases in self.leased:
            await leases.close()
        await self.store.clear()
        return PostgresWorld(store=self.store, url=self.url)


class ClearableStore(PostgresStore):
    """A store that a test may empty between two lives."""

    async def clear(self) -> None:
        async with self._database.connection() as connection:
            await connection.execute("truncate sessions, outbox, leases, idempotency_keys cascade")


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Hundreds of lives would log a hundred thousand lines."""
    with quiet():
        yield


@pytest_asyncio.fixture
async def world(database_url: str) -> AsyncIterator[PostgresWorld]:
    store = ClearableStore(database_url)
    yield PostgresWorld(store=store, url=database_url)
    await store.close()


@pytest.mark.parametrize(
    ("life", "every"),
    [(created_and_deleted, 11), (killed_and_restarted, 17), (dead_and_deleted, 5), (ended_and_resumed, 23)],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("fault", [Fault.DIES_BEFORE, Fault.DIES_AFTER], ids=lambda fault: fault.name.lower())
async def test_a_death_changes_nothing(world: PostgresWorld, life: Life, every: int, fault: Fault) -> None:
    stage, expected, ending = await play(life, 0, None, world)
    most = len(stage.calls)
    for number in range(1, most + 1, every):
        world = await world.fresh()
        try:
            stage, result, session = await play(life, number, fault, world)
            assert result == expected
            assert essence(session) == essence(ending)
        except AssertionError as error:
            error.add_note(f"{fault}, at call {number} of {life.__name__}: {stage.calls[number - 1 : number]}")
            raise
    await world.fresh()
