"""The way of a warm create: what it asks for, how often, and that nothing on it is believed which may be old."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from jelmore.control.meanwhile import meanwhile
from jelmore.control.relay import Relays
from jelmore.ports import ControlAddress
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.record import Session
from jelmore.session.states import SessionStatus
from jelmore.session.warm_start import WarmStart
from jelmore.session.world import RunnerPhase, Sandbox
from jelmore_protocol.control import Health, Init
from tests.support.waiting import until
from tests.unit.control.test_pool import create, filled, opened
from tests.unit.control.test_relays import started
from tests.unit.control.world import World

CALLS = {"sandboxes.observe": 1, "runners.health": 1, "runners.init": 1, "edge.publish": 1}


async def test_a_warm_create_takes_one_pass() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    await filled(world, 1)
    await manager.kill()
    manager = await opened(world)
    await asyncio.sleep(5)  # its first look at the pool
    manager.fuse.arm(0, None)
    session = await create(manager)
    made = list(manager.fuse.calls)
    assert session.warm_start is WarmStart.CONNECTED
    assert {name: made.count(name) for name in CALLS} == CALLS, made
    assert made.index("gateway.register") < made.index("runners.init"), "the agent may call the model at once"
    await manager.kill()


async def test_a_container_newer_than_the_record_goes_and_the_one_that_serves_stays() -> None:
    world = World()
    manager, session_id, _ = await started(world)
    serving = world.machine.sandboxes[session_id][1]
    world.machine.made["newer"] = world.machine.made[serving.id]
    world.machine.sandboxes[session_id][2] = replace(serving, id="newer", generation=2)
    manager.queue.add(session_id)
    await until(lambda: world.machine.sandboxes[session_id] == {1: serving})
    assert (await world.store.load(session_id)).generation == 1
    await manager.kill()


async def test_an_answer_from_where_the_runner_was_is_not_one_of_the_runner_that_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    manager, session_id, _ = await started(world)
    session, old = await world.store.load(session_id), world.machine.control(session_id)
    elsewhere = ControlAddress("unix:/fake/elsewhere", session_id, session.generation)
    world.machine.runners.runners[elsewhere] = world.machine.runners.add(old)
    kept = world.machine.sandboxes[session_id][1]
    world.machine.sandboxes[session_id][1] = replace(kept, control=elsewhere)
    manager.ports.lookup.saw(session_id, kept)
    asked: list[ControlAddress] = []

    async def health(at: ControlAddress) -> Health:
        asked.append(at)
        if at == old:
            raise DependencyError("runner", "it is not there any more")
        return world.machine.runners.hosted(at).health

    async def observe(*_: object) -> Sandbox | None:
        await asyncio.sleep(0.01)
        return world.machine.sandbox(session_id)

    monkeypatch.setattr(manager.ports.runners, "health", health)
    monkeypatch.setattr(manager.ports.sandboxes, "observe", observe)
    seen = await manager.reconciler._observer.world(session, None)
    assert seen.runner is not None
    assert seen.runner.phase is RunnerPhase.READY
    assert (asked[0], asked[-1]) == (old, elsewhere)
    await manager.kill()


async def test_a_paused_sandbox_is_not_asked_where_its_runner_was(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id, _ = await started(world)
    session = await world.store.load(session_id)
    await world.machine.pause(world.machine.sandboxes[session_id][1].id)

    async def health(_: ControlAddress) -> Health:
        await asyncio.sleep(3600)
        raise AssertionError("nobody waits for the answer of processes that do not run")

    monkeypatch.setattr(manager.ports.runners, "health", health)
    began = asyncio.get_running_loop().time()
    assert (await manager.reconciler._observer.world(session, None)).runner is None
    assert asyncio.get_running_loop().time() - began < 1
    await manager.kill()


async def test_a_lease_that_was_taken_ahead_is_used_once_and_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id, _ = await started(world)
    session, at = await world.store.load(session_id), world.machine.control(session_id)
    taken: list[UUID] = []

    def relays() -> Relays:
        return Relays(world.make_store(), world.machine.runners, manager.publisher, manager.tasks, leases, enqueue=no)

    def no(_: UUID) -> None: ...

    leases = world.make_leases("manager-0")
    take = leases.take

    async def counting(names: list[str], seconds: float) -> frozenset[str]:
        taken.append(session_id)
        return await take(names, seconds)

    monkeypatch.setattr(leases, "take", counting)
    first = relays()
    await first.reserve(session)
    await first.attach(session, at)
    assert (first.attached(session), len(taken)) == (True, 1)
    await first.detach(session_id)
    await first.attach(session, at)
    assert len(taken) == 2, "it was used up"
    await first.detach(session_id)
    await first.reserve(session)
    await asyncio.sleep(6)
    await first.attach(session, at)
    assert len(taken) == 4, "somebody else may have it by now"
    await manager.kill()


async def test_a_lease_that_was_taken_ahead_is_given_back_at_a_shutdown() -> None:
    world = World()
    manager, session_id, _ = await started(world)
    session = await world.store.load(session_id)
    await manager.relays.detach(session_id)
    await manager.leases.give([f"relay/{session_id}"])
    await manager.relays.reserve(session)
    other = world.make_leases("manager-1")
    assert await other.elsewhere(f"relay/{session_id}")
    await manager.relays.release_leases()
    assert not await other.elsewhere(f"relay/{session_id}"), "another manager can follow the session at once"
    await manager.kill()


async def test_a_lease_that_cannot_be_taken_ahead_fails_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    await filled(world, 1)

    async def refused(_: Session) -> None:
        raise RefusedError("postgres", "permission denied for table leases")

    monkeypatch.setattr(manager.relays, "reserve", refused)
    session = await create(manager)
    assert (session.warm_start, session.status) == (WarmStart.CONNECTED, SessionStatus.WAITING_INPUT)
    await manager.kill()


async def test_an_agent_that_connects_late_is_waited_for_and_nothing_else_is_asked() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    await filled(world, 1)
    world.machine.runners.connects = False
    manager.fuse.arm(0, None)
    creating = asyncio.create_task(create(manager), name="create")
    await asyncio.sleep(5)
    made = list(manager.fuse.calls)
    assert made.count("runners.health") > 10, "it is looked at again and again"
    assert made.count("runners.init") == made.count("gateway.register") == 1, made
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    await manager.kill()


async def test_who_waits_for_a_record_gets_the_one_that_was_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id, _ = await started(world)
    session = await world.store.load(session_id)
    waiting = asyncio.create_task(manager.watchers.until(session_id, lambda one: one.title == "new", 5), name="waiting")
    await asyncio.sleep(0.01)
    saved = await world.store.save(replace(session, title="new"), [])

    async def load(_: UUID) -> None:
        raise AssertionError("it was saved here just now")

    monkeypatch.setattr(world.store, "load", load)
    manager.watchers.notify(replace(saved, version=saved.version - 1, title="older"))
    manager.watchers.notify(saved)
    manager.watchers.notify(replace(saved, version=saved.version - 1, title="older"))
    assert (await waiting).title == "new"
    monkeypatch.undo()
    await manager.kill()


async def test_work_beside_a_block_ends_with_it() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("work")

    async def fail() -> None:
        async with meanwhile("work", work()):
            await asyncio.sleep(0)
            raise DependencyError("test", "the block failed")

    with pytest.raises(DependencyError):
        await fail()
    assert ended == ["work"]


async def test_the_gateway_lets_a_sandbox_in_before_its_runner_has_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    await filled(world, 1)
    order: list[str] = []
    register, init = manager.gateway_keeper.register, manager.ports.runners.init

    async def slow(session: Session) -> None:
        await asyncio.sleep(1)
        await register(session)
        order.append("let in")

    async def noted(at: ControlAddress, given: Init, *, ready_within_s: float = 0) -> Health:
        order.append("init")
        return await init(at, given, ready_within_s=ready_within_s)

    monkeypatch.setattr(manager.gateway_keeper, "register", slow)
    monkeypatch.setattr(manager.ports.runners, "init", noted)
    assert (await create(manager)).warm_start is WarmStart.CONNECTED
    assert order == ["let in", "init"]
    await manager.kill()
