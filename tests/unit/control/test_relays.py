"""Relays: output is stored once and in order, whoever else follows, writes, or goes away meanwhile."""

import asyncio
import random
from collections.abc import AsyncGenerator
from dataclasses import replace
from types import SimpleNamespace
from uuid import UUID

import pytest

from jelmore.control.requests import CreateRequest
from jelmore.ports import ControlAddress, Delta
from jelmore.session.errors import FaultError
from jelmore.session.events import EventType
from jelmore_protocol.events import EventKind
from tests.unit.control.machine import HostedRunner
from tests.unit.control.world import ALICE, Manager, World


async def started(world: World) -> tuple[Manager, UUID, HostedRunner]:
    """Return a manager that follows a ready session's runner."""
    manager = Manager(world)
    await manager.start()
    created = await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=True)
    return manager, created.session.id, world.machine.runner(created.session.id)


async def settled(world: World, session_id: UUID, runner: HostedRunner) -> None:
    """Wait until the store holds all that the runner journaled; check that it does so once, in order, with events."""
    async with asyncio.timeout(120):
        while (await world.store.load(session_id)).output_seq < runner.seq:
            await asyncio.sleep(0.1)
    stored = await world.store.output(session_id, 0, 10_000)
    assert [output.text for output in stored] == [output.text for output in runner.journal]
    covered = 0
    for event in await world.store.events(session_id, 0, 10_000):
        if event.type == EventType.OUTPUT_RECEIVED:
            assert event.payload["from_seq"] == covered + 1
            covered = event.payload["to_seq"]
    assert covered == runner.seq


async def talk(runner: HostedRunner, count: int, dice: random.Random) -> None:
    for number in range(count):
        await runner.say(EventKind.MESSAGE, {"message": {"type": "assistant", "n": number}, "input_id": None})
        if dice.random() < 0.3:
            await asyncio.sleep(dice.random())


@pytest.mark.parametrize("seed", range(5))
async def test_races_for_the_record_lose_nothing(seed: int) -> None:
    world, dice = World(), random.Random(seed)
    manager, session_id, runner = await started(world)

    async def rewrite() -> None:
        for number in range(100):
            session = await world.store.load(session_id)
            await world.store.save(replace(session, title=str(number)), [])
            await asyncio.sleep(dice.random() / 10)

    await asyncio.gather(talk(runner, 200, dice), rewrite())
    await settled(world, session_id, runner)
    assert (await world.store.load(session_id)).title == "99"
    await manager.kill()


@pytest.mark.parametrize("seed", range(5))
async def test_two_relays_on_one_session_store_once(seed: int) -> None:
    world, dice = World(), random.Random(seed)
    manager, session_id, runner = await started(world)
    other = Manager(world)  # the same holder, as after a wrong configuration: both believe that it is theirs
    await other.start()
    await other.relays.attach(await world.store.load(session_id), world.machine.control(session_id))
    assert manager.relays.following() == other.relays.following() == 1
    await talk(runner, 300, dice)
    await settled(world, session_id, runner)
    for one in (manager, other):
        await one.kill()


async def test_another_holders_lease_is_respected_until_it_runs_out() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    other = Manager(world, holder="manager-1")
    await other.start()
    session = await world.store.load(session_id)
    assert await other.relays.followed(session)
    assert not other.relays.attached(session)
    await manager.kill()
    await runner.say(EventKind.ERROR, {"code": "c", "message": "m"})
    await settled(world, session_id, runner)
    assert other.relays.attached(await world.store.load(session_id))
    await other.kill()


async def test_a_store_that_is_away_holds_the_relay_back_and_loses_nothing() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    world.store.away = True
    await talk(runner, 50, random.Random(1))
    await asyncio.sleep(60)
    world.store.away = False
    await settled(world, session_id, runner)
    await manager.kill()


async def test_redis_may_be_away_and_cut_relays_continue() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    world.live.away = True
    await talk(runner, 10, random.Random(1))
    await settled(world, session_id, runner)
    world.live.away = False
    for _ in range(5):
        await runner.cut()
        await talk(runner, 10, random.Random(2))
    await settled(world, session_id, runner)
    await manager.kill()


async def test_a_relay_stopped_before_its_first_step_is_not_followed() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    session = await world.store.load(session_id)
    await manager.relays.detach(session_id)
    await manager.relays.attach(session, world.machine.control(session_id))
    await manager.relays.detach(session_id)
    assert not manager.relays.attached(session)
    await talk(runner, 3, random.Random(1))
    await settled(world, session_id, runner)
    await manager.kill()


async def test_readers_learn_at_once_of_what_a_full_redis_refused() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    loop, read = asyncio.get_running_loop(), asyncio.Queue[int]()

    async def follow() -> None:
        async for item in manager.streams.follow(await world.store.load(session_id), None):
            if item.seq is not None:
                read.put_nowait(item.seq)

    reading = asyncio.create_task(follow(), name="reader")
    await runner.say(EventKind.MESSAGE, {"message": {"type": "assistant"}, "input_id": None})
    assert await asyncio.wait_for(read.get(), 60) == runner.seq
    world.live.full = True
    for _ in range(3):
        await runner.say(EventKind.MESSAGE, {"message": {"type": "assistant"}, "input_id": None})
        began = loop.time()
        assert await asyncio.wait_for(read.get(), 60) == runner.seq
        assert loop.time() - began < 1
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await manager.kill()


async def tail_is_level(world: World, session_id: UUID) -> None:
    """Wait until Redis holds all that is stored, without a hole."""
    stored = list(await world.store.output(session_id, 0, 10_000))
    async with asyncio.timeout(60):
        while await world.live.tail(session_id, 0, 10_000) != stored:
            await asyncio.sleep(0.1)


async def test_the_tail_catches_up_by_itself() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    await talk(runner, 10, random.Random(1))
    world.live.away = True
    await talk(runner, 10, random.Random(1))
    await settled(world, session_id, runner)
    world.live.away = False
    await tail_is_level(world, session_id)
    world.live.wipe()
    await talk(runner, 1, random.Random(1))
    await settled(world, session_id, runner)
    await tail_is_level(world, session_id)
    await manager.kill()


async def test_a_tail_left_behind_by_a_dead_manager_catches_up() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    world.live.away = True
    await talk(runner, 10, random.Random(1))
    await settled(world, session_id, runner)
    await manager.kill()
    world.live.away = False
    other = Manager(world, holder="manager-1")
    await other.start()
    await tail_is_level(world, session_id)
    await other.kill()


async def test_a_session_that_ended_meanwhile_leaves_no_tail() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    await talk(runner, 3, random.Random(1))
    await settled(world, session_id, runner)
    world.live.away = True
    await talk(runner, 3, random.Random(1))
    await settled(world, session_id, runner)
    await manager.commands.delete(ALICE, session_id, reason="done", wait=True)
    world.live.away = False
    async with asyncio.timeout(60):
        while await world.live.known():
            await asyncio.sleep(0.1)
    await manager.kill()


async def test_a_relay_that_breaks_again_and_again_is_followed_with_pauses() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    runner.garbled = True
    before = runner.relays
    await runner.cut()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(60), runner.changed:
            await runner.changed.wait_for(lambda: runner.relays > before + 30)
    assert runner.relays > before + 5
    runner.garbled = False
    await talk(runner, 3, random.Random(1))
    await settled(world, session_id, runner)
    loop = asyncio.get_running_loop()
    began, before = loop.time(), runner.relays
    await runner.cut()  # the first break after all went well
    async with runner.changed:
        await runner.changed.wait_for(lambda: runner.relays > before)
    assert loop.time() - began < 1
    await manager.kill()


async def test_a_relay_that_fails_closes_its_connection_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id, runner = await started(world)
    closed = asyncio.Event()
    closers: set[str] = set()

    async def relay(_: ControlAddress, __: int) -> AsyncGenerator[Delta]:
        try:
            yield Delta("text")
        finally:
            closers.add(getattr(asyncio.current_task(), "get_name", str)())
            closed.set()

    def fail(*_: object) -> None:
        raise FaultError("a bug")

    monkeypatch.setattr(manager.relays, "_runners", SimpleNamespace(relay=relay))
    monkeypatch.setattr(type(manager.relays._publisher), "delta", fail)
    await runner.cut()
    async with asyncio.timeout(60):
        await closed.wait()
    assert closers == {f"relay-{session_id}"}, "the interpreter would close it later, in a task of its own"
    await manager.kill()


async def test_a_session_whose_output_stays_broken_is_ended_with_that_reason() -> None:
    world = World()
    manager, session_id, runner = await started(world)
    await talk(runner, 3, random.Random(1))
    await settled(world, session_id, runner)
    runner.journal.clear()
    await runner.cut()
    async with asyncio.timeout(120):
        while not (session := await world.store.load(session_id)).ended:
            await asyncio.sleep(1)
    assert session.end_reason == "output_broken"
    assert "is stored already" in str([event.payload for event in await world.store.events(session_id, 0, 1000)])
    await manager.kill()
