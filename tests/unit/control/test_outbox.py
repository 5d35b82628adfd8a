"""The outbox relay: whatever dies or is away, every event is published once and in order."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest_asyncio

from jelmore.control.outbox import OutboxRelay
from jelmore.control.tasks import Tasks
from jelmore.session.record import Session
from tests.fakes.memory_events import MemoryEvents
from tests.fakes.memory_store import MemoryOutbox, MemoryStore
from tests.support.records import draft, new_session
from tests.unit.control.crashing import Fault, Fuse, guard


@dataclass
class Bus:
    """A store with events, a bus, and relays to start and kill."""

    store: MemoryStore = field(default_factory=MemoryStore)
    events: MemoryEvents = field(default_factory=MemoryEvents)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    sessions: list[Session] = field(default_factory=list)

    async def write(self, count: int) -> None:
        for number in range(count):
            self.sessions = [await self.store.save(session, [draft(number)]) for session in self.sessions]

    def relay(self, fuse: Fuse) -> tuple[OutboxRelay, Tasks]:
        outbox = MemoryOutbox(self.store, self.lock)
        relay, tasks = OutboxRelay(guard(outbox, "outbox", fuse), guard(self.events, "events", fuse)), Tasks()
        tasks.keep("outbox", relay.run)
        return relay, tasks

    def published(self) -> bool:
        """Whether the bus has everything, each event once and in order."""
        for session in self.sessions:
            seqs = [event.seq for event in self.events.published if event.session_id == session.id]
            assert seqs == list(range(1, len(seqs) + 1))
        return len(self.events.published) == sum(len(kept) for kept in self.store.kept_events.values())


@pytest_asyncio.fixture
async def bus() -> AsyncIterator[Bus]:
    bus = Bus()
    for _ in range(3):
        session, _ = await bus.store.create(new_session(), [draft()], most_live=9, idempotency=None)
        bus.sessions.append(session)
    yield bus


async def until(bus: Bus) -> None:
    async with asyncio.timeout(60):
        while not bus.published() or bus.store.outbox:
            await asyncio.sleep(0.2)


async def test_a_relay_may_die_at_every_call(bus: Bus) -> None:
    for fault in Fault:
        number = 1
        while True:
            await bus.write(2)
            fuse = Fuse()
            fuse.arm(number, fault)
            _, tasks = bus.relay(fuse)
            try:
                async with asyncio.timeout(5):
                    await until(bus)
            except TimeoutError:
                assert fuse.died.is_set()
            fuse.die()
            await tasks.close()
            last = Fuse()
            _, tasks = bus.relay(last)
            await until(bus)
            last.die()
            await tasks.close()
            if len(fuse.calls) < number:
                break
            number += 1


async def test_a_bus_without_memory_gets_everything_again(bus: Bus) -> None:
    fuse = Fuse()
    relay, tasks = bus.relay(fuse)
    await bus.write(600)
    await until(bus)
    assert relay.holding
    bus.events.wipe()
    await bus.write(1)
    await until(bus)
    assert relay.published > 3600
    fuse.die()
    await tasks.close()
    assert not relay.holding


async def test_a_bus_that_is_away_is_waited_for(bus: Bus) -> None:
    fuse = Fuse()
    bus.events.away = True
    _, tasks = bus.relay(fuse)
    await bus.write(3)
    await asyncio.sleep(30)
    assert bus.events.published == []
    bus.events.away = False
    await until(bus)
    fuse.die()
    await tasks.close()


async def test_a_bus_that_is_too_slow_for_a_batch_gets_it_in_parts(bus: Bus) -> None:
    fuse = Fuse()
    bus.events.most = 3
    await bus.write(20)
    _, tasks = bus.relay(fuse)
    await until(bus)
    fuse.die()
    await tasks.close()


async def test_large_events_are_not_all_taken_at_once(bus: Bus) -> None:
    fuse = Fuse()
    for number in range(12):
        drafts = [draft(number, text="x" * 1_500_000)]
        bus.sessions = [await bus.store.save(session, drafts) for session in bus.sessions]
    _, tasks = bus.relay(fuse)
    await until(bus)
    assert max(bus.events.batches_bytes) < 5_000_000
    fuse.die()
    await tasks.close()


async def test_one_of_two_relays_publishes_and_the_other_takes_over(bus: Bus) -> None:
    fuses = [Fuse(), Fuse()]
    first, second = (bus.relay(fuse) for fuse in fuses)
    await bus.write(3)
    await until(bus)
    assert (first[0].holding, second[0].holding) == (True, False)
    await first[1].close()
    await bus.write(3)
    await until(bus)
    assert second[0].holding
    await second[1].close()
