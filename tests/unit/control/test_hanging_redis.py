"""A Redis that hangs: storing, reading and ending continue, and no caller waits for it more than once."""

import asyncio
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from uuid import UUID

import pytest
import pytest_asyncio

from jelmore.control.stream_frames import StreamItem
from jelmore_protocol.events import EventKind
from tests.fakes.hanging import Hanging, hanging
from tests.fakes.memory_live_output import MemoryLiveOutput
from tests.fakes.memory_records import MemoryRecords
from tests.unit.control.machine import HostedRunner
from tests.unit.control.test_relays import settled, started, tail_is_level, talk
from tests.unit.control.world import ALICE, Manager, World


@dataclass
class Scene:
    """A followed session whose Redis can be made to hang."""

    world: World
    manager: Manager
    session_id: UUID
    runner: HostedRunner
    parts: tuple[Hanging, Hanging]

    def hang(self, *, hangs: bool = True) -> None:
        for part in self.parts:
            part.hangs = hangs


@pytest_asyncio.fixture
async def scene() -> AsyncIterator[Scene]:
    live, live_switch = hanging(MemoryLiveOutput())
    records, records_switch = hanging(MemoryRecords())
    world = World(live=live, records=records)
    manager, session_id, runner = await started(world)
    yield Scene(world, manager, session_id, runner, (live_switch, records_switch))
    await manager.kill()


async def test_output_is_stored_without_delay(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    scene.hang()
    for number in range(100):
        await scene.runner.hint(f"piece {number}")
        await scene.runner.say(EventKind.MESSAGE, {"message": {"type": "assistant", "n": number}, "input_id": None})
        await asyncio.sleep(0.01)  # a batch of its own
    began = loop.time()
    await settled(scene.world, scene.session_id, scene.runner)
    assert loop.time() - began < 0.5


async def test_the_tail_catches_up_when_it_answers_again(scene: Scene) -> None:
    scene.hang()
    await talk(scene.runner, 20, random.Random(1))
    await settled(scene.world, scene.session_id, scene.runner)
    await asyncio.sleep(60)
    scene.hang(hangs=False)
    await tail_is_level(scene.world, scene.session_id)


async def test_a_read_waits_once_and_then_never(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    scene.hang()
    began = loop.time()
    await scene.manager.queries.get(ALICE, scene.session_id)
    assert loop.time() - began < 0.5
    began = loop.time()
    for _ in range(100):
        await scene.manager.queries.get(ALICE, scene.session_id)
    assert loop.time() == began


async def test_reads_use_the_cache_when_it_answers_again(scene: Scene) -> None:
    scene.hang()
    await scene.manager.queries.get(ALICE, scene.session_id)
    scene.hang(hangs=False)
    await asyncio.sleep(10)
    hits = scene.manager.cache.hits
    for _ in range(3):
        await scene.manager.queries.get(ALICE, scene.session_id)
    assert scene.manager.cache.hits >= hits + 2


async def test_a_record_is_read_as_it_was_stored_before_redis_has_it(scene: Scene) -> None:
    await scene.manager.queries.get(ALICE, scene.session_id)  # Redis has this version
    before = await scene.world.store.load(scene.session_id)
    saved = await scene.world.store.save(replace(before, warned_at=before.created_at), [])
    scene.manager.publisher.saved(before, saved)
    assert (await scene.manager.queries.get(ALICE, scene.session_id)).version == saved.version


async def test_a_session_ends_in_time(scene: Scene) -> None:
    loop = asyncio.get_running_loop()
    scene.hang()
    began = loop.time()
    ended = await scene.manager.commands.delete(ALICE, scene.session_id, reason="done", wait=True)
    assert ended.ended
    assert loop.time() - began < 3


@pytest.mark.parametrize("hangs", [False, True])
async def test_readers_are_fed_in_process_once_and_in_order(scene: Scene, hangs: bool) -> None:
    loop, read = asyncio.get_running_loop(), asyncio.Queue[StreamItem]()

    async def follow() -> None:
        async for item in scene.manager.streams.follow(await scene.world.store.load(scene.session_id), 0):
            read.put_nowait(item)

    reading = asyncio.create_task(follow(), name="reader")
    await asyncio.sleep(1)
    first = scene.runner.seq
    scene.hang(hangs=hangs)
    for number in range(20):
        began = loop.time()
        await scene.runner.hint(f"piece {number}")
        await asyncio.sleep(0.001)
        await scene.runner.say(EventKind.MESSAGE, {"message": {"type": "assistant", "n": number}, "input_id": None})
        while (await asyncio.wait_for(read.get(), 60)).seq != scene.runner.seq:
            pass
        assert loop.time() - began < 0.05
    await asyncio.sleep(1)
    await scene.runner.hint("last")
    await asyncio.sleep(30)
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    items = [read.get_nowait() for _ in range(read.qsize())]
    assert [item.kind for item in items if item.kind in {"event", "delta"}] == ["delta"]
    assert scene.runner.seq == first + 20


async def test_what_waits_is_bounded_and_nothing_is_lost(scene: Scene) -> None:
    scene.hang()
    body = {"message": {"type": "assistant", "text": "x" * 2**20}, "input_id": None}
    for _ in range(40):
        await scene.runner.say(EventKind.MESSAGE, body)
        await asyncio.sleep(0.01)
        assert scene.manager.publisher.waiting_bytes() <= 17 * 2**20
    scene.hang(hangs=False)
    await settled(scene.world, scene.session_id, scene.runner)
    await tail_is_level(scene.world, scene.session_id)


async def test_an_accepted_input_is_visible_to_the_next_read(scene: Scene) -> None:
    for hangs in (False, True):
        scene.hang(hangs=hangs)
        seq = await scene.runner.say(EventKind.ERROR, {"code": "c", "message": "m"})
        await scene.manager.queries.reflected(scene.session_id, seq)
        assert (await scene.manager.queries.get(ALICE, scene.session_id)).output_seq >= seq
