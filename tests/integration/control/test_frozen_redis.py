"""A Valkey that is stopped in mid-sentence (SIGSTOP): PostgreSQL receives every event while it stands."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.publisher import Publisher
from jelmore.control.relay import Relays
from jelmore.control.streams import Streams
from jelmore.control.tasks import Tasks
from jelmore.control.watchers import Watchers
from jelmore.drivers.postgres_leases import PostgresLeases
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.redis_output import RedisOutput
from jelmore.drivers.redis_records import RedisRecords
from jelmore.embedded import Valkey
from jelmore.ports import ControlAddress
from jelmore_protocol.events import EventKind
from tests.fakes.runners import FakeRunner, FakeRunners
from tests.support.processes import frozen
from tests.support.records import created
from tests.support.waiting import until

pytestmark = pytest.mark.integration


class Followed:
    """A session whose fake runner is relayed into a real PostgreSQL and a real Valkey."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.store = PostgresStore(database_url)
        self.live, self.records = RedisOutput(redis_url), RedisRecords(redis_url)
        self.leases, self.runners, self.tasks = PostgresLeases(database_url, "test"), FakeRunners(), Tasks()
        redis = CircuitBreaker("redis", self.live.answers, self.tasks)
        self.cache, self.streams = RecordCache(self.store, self.records, redis), Streams(self.store, self.live, redis)
        watchers = Watchers(self.store, self.cache)
        publisher = Publisher(self.store, self.live, self.cache, watchers, self.streams, redis, self.tasks)
        self.relays = Relays(self.store, self.runners, publisher, self.tasks, self.leases, enqueue=lambda _: None)
        self.session_id = UUID(int=0)
        self.runner = FakeRunner()

    async def open(self) -> None:
        session = await created(self.store)
        self.session_id = session.id
        at = ControlAddress("unix:/nowhere", session.id, session.generation)
        self.runner = self.runners.add(at)
        await self.relays.attach(session, at)
        await self.talk(3)

    async def talk(self, count: int) -> None:
        """Speak, and return when PostgreSQL holds all of it."""
        for number in range(count):
            await self.runner.hint(f"piece {number}")
            await self.runner.say(EventKind.MESSAGE, {"message": {"type": "assistant", "n": number}})
            await asyncio.sleep(0.01)
        await until(self.all_stored)

    async def all_stored(self) -> bool:
        return (await self.store.load(self.session_id)).output_seq == self.runner.seq

    async def tail_is_level(self) -> bool:
        tail = await self.live.tail(self.session_id, self.runner.seq - 1, 10)
        return tail is not None and [output.seq for output in tail] == [self.runner.seq]

    async def close(self) -> None:
        await self.tasks.close()
        for part in (self.live, self.records, self.leases, self.store):
            await part.close()


@pytest_asyncio.fixture
async def valkey(short_folder: Path) -> AsyncIterator[Valkey]:
    async with Valkey(short_folder / "valkey", short_folder) as server:
        yield server


async def test_everything_is_stored_while_valkey_is_stopped(database_url: str, valkey: Valkey) -> None:
    followed = Followed(database_url, valkey.url)
    try:
        await followed.open()
        await until(followed.tail_is_level)
        with frozen(valkey):
            began = time.monotonic()
            await followed.talk(54)
            assert time.monotonic() - began < 4
            began = time.monotonic()
            for _ in range(20):
                assert (await followed.cache.load(followed.session_id)).output_seq == followed.runner.seq
            assert time.monotonic() - began < 1
        await until(followed.tail_is_level)
        await followed.talk(1)
        await until(followed.tail_is_level)
    finally:
        await followed.close()
