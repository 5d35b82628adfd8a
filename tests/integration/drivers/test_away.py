"""Each server stopped under a driver: quick, honest errors, and work continues with the same object when it is back."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from jelmore.drivers.migrations import migrate
from jelmore.drivers.nats_events import NatsEvents
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.redis_output import RedisOutput
from jelmore.embedded import Nats, Postgres, Valkey
from jelmore.session.errors import DependencyError
from tests.contract.events_contract import events
from tests.contract.outbox_contract import held
from tests.support.processes import frozen
from tests.support.records import created, draft, lines, new_id
from tests.support.waiting import first, until
from tests.support.watching import WatchedList

pytestmark = pytest.mark.integration
QUICK_S = 3


@pytest_asyncio.fixture
async def postgres(short_folder: Path) -> AsyncIterator[Postgres]:
    async with Postgres(short_folder / "postgres", short_folder) as server:
        await migrate(server.url)
        yield server


@pytest_asyncio.fixture
async def valkey(short_folder: Path) -> AsyncIterator[Valkey]:
    async with Valkey(short_folder / "valkey", short_folder) as server:
        yield server


@pytest_asyncio.fixture
async def nats_alone(short_folder: Path) -> AsyncIterator[Nats]:
    async with Nats(short_folder / "nats", short_folder) as server:
        yield server


async def test_postgres_goes_and_comes_back(postgres: Postgres) -> None:
    store = PostgresStore(postgres.url)
    try:
        session = await created(store, draft(1))
        async with held(PostgresOutbox(postgres.url, store.wrote)) as outbox:
            await postgres.stop()
            began = time.monotonic()
            for call in (
                store.load(session.id),
                store.save(session, []),
                store.check(),
                outbox.take(1),
                outbox.wait(30),
            ):
                with pytest.raises(DependencyError):
                    await call
            with pytest.raises(DependencyError):
                await anext(PostgresOutbox(postgres.url, store.wrote).hold())
            assert time.monotonic() - began < QUICK_S
        await postgres.start()
        assert await store.load(session.id) == session
        assert (await store.save(session, [draft(2)])).event_seq == 2
        async with held(PostgresOutbox(postgres.url, store.wrote)) as outbox:
            assert len(await outbox.take(10)) == 2
    finally:
        await store.close()


async def test_postgres_killed_loses_nothing_that_was_saved(postgres: Postgres) -> None:
    store = PostgresStore(postgres.url)
    try:
        session = await created(store, draft(1))
        session = await store.save(session, [draft(2)], lines(1, 100))
        await postgres.kill()
        await until(lambda: _answers(store.check))
        assert await store.load(session.id) == session
        assert await store.output(session.id, 0, 1000) == lines(1, 100)
    finally:
        await store.close()


async def test_redis_goes_and_comes_back_empty(valkey: Valkey) -> None:
    live, one = RedisOutput(valkey.url), new_id()
    try:
        await live.append(one, lines(1, 3))
        watched = WatchedList()
        watched.add(one)
        async with aclosing(live.watch(watched)) as found:
            await first(found, 3)
            await valkey.stop()
            began = time.monotonic()
            with pytest.raises(DependencyError):
                await first(found, 1)
        for call in (
            live.check(),
            live.answers(),
            live.append(one, lines(4, 4)),
            live.publish(one, "x"),
            live.tail(one, 0, 1),
        ):
            with pytest.raises(DependencyError):
                await call
        assert time.monotonic() - began < QUICK_S
        await valkey.start()
        assert await live.tail(one, 0, 10) is None
        await live.append(one, lines(4, 5))
        assert await live.tail(one, 3, 10) == lines(4, 5)
        async with aclosing(live.watch(watched)) as found:
            assert [item.seq for item in await first(found, 2)] == [4, 5]
    finally:
        await live.close()


async def test_nats_goes_and_comes_back(nats_alone: Nats) -> None:
    bus, one = NatsEvents(nats_alone.url, instance="test"), new_id()
    try:
        assert await bus.connect()
        await bus.filled()
        await bus.publish(events(one, 1, 2))
        await nats_alone.stop()
        began = time.monotonic()
        for call in (bus.publish(events(one, 3, 3)), bus.check(), bus.connect()):
            with pytest.raises(DependencyError):
                await call
        assert time.monotonic() - began < QUICK_S
        await nats_alone.start()
        assert not await bus.connect()  # it kept its disk
        await bus.publish(events(one, 2, 4))
        await bus.check()
    finally:
        await bus.close()


async def test_a_nats_that_freezes_does_not_hold_us(nats_alone: Nats) -> None:
    bus, one = NatsEvents(nats_alone.url, instance="test", timeout_s=0.5), new_id()
    try:
        await until(lambda: _answers(bus.connect))
        with frozen(nats_alone):
            began = time.monotonic()
            with pytest.raises(DependencyError):
                await bus.publish(events(one, 1, 1))
            assert time.monotonic() - began < QUICK_S
        await until(lambda: _answers(bus.check))  # on a busy machine it needs longer than the timeout of this test
        assert await bus.connect()  # nothing was acknowledged, so the stream is still to be filled
        await bus.publish(events(one, 1, 1))
    finally:
        await bus.close()


async def test_servers_that_freeze_do_not_hold_us(postgres: Postgres, valkey: Valkey) -> None:
    store, live = PostgresStore(postgres.url, timeout_s=0.5), RedisOutput(valkey.url, timeout_s=0.5)
    try:
        session = await created(store)
        with frozen(postgres), frozen(valkey):
            began = time.monotonic()
            for call in (store.load(session.id), live.append(session.id, lines(1, 1)), live.check()):
                with pytest.raises(DependencyError):
                    await call
            assert time.monotonic() - began < 2 * QUICK_S
        await until(lambda: _answers(store.check))
        await until(lambda: _answers(live.check))
        assert await store.load(session.id) == session
        await live.append(session.id, lines(1, 1))
        assert await live.tail(session.id, 0, 2) == lines(1, 1)
    finally:
        await store.close()
        await live.close()


async def _answers(call: Callable[[], Awaitable[object]]) -> bool:
    try:
        await call()
    except DependencyError:
        return False
    return True
