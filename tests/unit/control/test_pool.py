"""The warm pool on the fakes: it fills, is claimed, replaced and removed, and leaves nothing behind."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import UUID

import pytest

from jelmore.control.requests import CreateRequest
from jelmore.ports import Idempotency
from jelmore.session.errors import CapacityError, DependencyError
from jelmore.session.pool import Member, MemberState, Memory, Shape
from jelmore.session.record import Session
from jelmore.session.states import SessionStatus
from jelmore.session.warm_start import WarmStart
from jelmore.session.world import SandboxState
from jelmore_protocol.control import Phase
from jelmore_protocol.gateway import sandbox_key
from tests.fakes.memory_pool import MemoryPool
from tests.unit.control.world import ADMIN, ALICE, Manager, World


async def eventually(holds: Callable[[], bool], what: str, seconds: float = 120) -> None:
    """Return when `holds`; fail after two virtual minutes."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while not holds():
        assert loop.time() < deadline, f"did not happen: {what}"
        await asyncio.sleep(0.05)


def ready(world: World) -> list[UUID]:
    return [each.id for each in world.store.pool.values() if each.state is MemberState.READY]


async def filled(world: World, count: int) -> list[UUID]:
    await eventually(
        lambda: len(ready(world)) == len(world.store.pool) == count, f"{count} members: {world.store.pool}"
    )
    return ready(world)


async def create(manager: Manager, *, limits: dict[str, float] | None = None) -> Session:
    request = CreateRequest(limits=limits or {})
    return (await manager.commands.create(ALICE, request, idempotency=None, wait=True)).session


async def opened(world: World, *, most_live: int = 3) -> Manager:
    manager = Manager(world, most_live=most_live)
    await manager.start()
    return manager


async def test_a_create_gets_a_member_and_the_pool_fills_again() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    assert world.gateway.sandboxes[sandbox_key(member, 1)].held
    assert world.machine.runner(member).init is None, "it knows no session"
    session = await create(manager)
    assert (session.id, session.warm_start, session.generation) == (member, WarmStart.CONNECTED, 1)
    assert not world.gateway.sandboxes[sandbox_key(member, 1)].held
    init = world.machine.runner(member).init
    assert init is not None
    assert (init.session_id, init.generation, init.resume) == (str(member), 1, False)
    assert [spec.session_id for spec in world.machine.starts].count(member) == 1, "it is not started again"
    [successor] = await filled(world, 1)
    assert successor != member
    stats = (await manager.queries.stats(ADMIN)).to_mapping()
    assert stats["pool"] == {"size": 1, "starting": 0, "ready": 1, "removing": 0, "claims": {"connected": 1}}
    assert "pool" not in (await manager.queries.stats(ALICE)).to_mapping()
    await manager.kill()


async def test_a_create_that_needs_another_sandbox_starts_cold() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    session = await create(manager, limits={"memory_bytes": 2 << 30})
    assert session.warm_start is WarmStart.NONE
    assert ready(world) == [member]
    assert world.store.claims == {"none": 1}
    await manager.kill()


async def test_a_create_whose_workspace_is_filled_first_starts_cold() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)

    @asynccontextmanager
    async def filling(session: Session) -> AsyncIterator[Session]:
        assert session.id != member
        yield session

    made = await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=True, prepare=filling)
    assert (made.session.id != member, made.session.warm_start) == (True, WarmStart.NONE)
    assert ready(world) == [member]
    await manager.kill()


async def test_without_a_pool_nothing_is_started_ahead_and_what_is_left_is_removed() -> None:
    world = World(pool_size=2)
    manager = await opened(world)
    await filled(world, 2)
    await manager.kill()
    world.pool_size = 0
    manager = Manager(world)
    await manager.access.open(None)
    await manager.gateway_keeper.once()
    for _ in range(4):
        await manager.pool.keep()
    assert (world.store.pool, world.machine.sandboxes, world.machine.volumes) == ({}, {}, {})
    assert world.gateway.sandboxes == {}
    assert (await create_without_wait(manager)).warm_start is WarmStart.NONE
    await manager.kill()


async def create_without_wait(manager: Manager) -> Session:
    return (await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)).session


@pytest.mark.parametrize("fate", ["exits", "vanishes", "is silent", "has ended"])
async def test_a_member_that_is_no_good_is_replaced(fate: str) -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    await break_member(world, member, fate)
    await eventually(lambda: ready(world) not in ([], [member]), "another member")
    assert member not in world.machine.sandboxes
    assert member not in world.machine.volumes
    assert sandbox_key(member, 1) not in world.gateway.sandboxes
    await manager.kill()


@pytest.mark.parametrize("fate", ["exits", "vanishes", "is silent", "has ended"])
async def test_a_session_that_claims_a_member_that_is_no_good_starts_cold(fate: str) -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    await break_member(world, member, fate)
    session = await create(manager)
    assert session.id == member, "the pool has not noticed yet"
    assert (session.warm_start, session.generation) == (WarmStart.LOST, 2)
    assert session.status is SessionStatus.WAITING_INPUT
    sandbox = world.machine.sandbox(member)
    assert sandbox is not None
    assert (sandbox.generation, sandbox.state) == (2, SandboxState.RUNNING)
    events = [event.type for event in world.store.kept_events[member]]
    assert events.count("session.started") == 1
    assert "session.failed" not in events
    init = world.machine.runner(member).init
    assert init is not None
    assert not init.resume, "there is no conversation to resume"
    await manager.kill()


async def break_member(world: World, member: UUID, fate: str) -> None:
    match fate:
        case "exits":
            await world.machine.kill(member)
        case "vanishes":
            await world.machine.snatch(member)
            world.machine.volumes.pop(member)
        case "is silent":
            world.machine.runners.silent.add(world.machine.control(member))
        case _:
            world.machine.runner(member).phase = Phase.ENDED
            world.machine.runner(member).stopping = True


async def test_a_new_image_replaces_every_member() -> None:
    world = World(pool_size=2)
    manager = await opened(world)
    old = await filled(world, 2)
    world.machine.made_from = "image-2"
    await eventually(lambda: len(ready(world)) == 2 and not set(ready(world)) & set(old), "new members")
    assert {each.shape.recipe for each in world.store.pool.values()} == {"image-2"}
    assert not set(old) & set(world.machine.sandboxes)
    await manager.kill()


async def test_a_create_never_gets_a_member_of_an_older_image() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    world.machine.made_from = "image-2"
    session = await create(manager)
    assert (session.id != member, session.warm_start) == (True, WarmStart.NONE)
    await manager.kill()


async def test_members_grow_old() -> None:
    world = World(pool_size=1, pool_max_age_s=60)
    manager = await opened(world)
    [member] = await filled(world, 1)
    await eventually(lambda: ready(world) not in ([], [member]), "a younger one", seconds=90)
    await manager.kill()


async def test_members_never_take_a_slot_from_a_create() -> None:
    world = World(pool_size=2)
    manager = await opened(world, most_live=2)
    await filled(world, 2)
    first, second = await create(manager), await create(manager)
    assert {first.warm_start, second.warm_start} == {WarmStart.CONNECTED}
    with pytest.raises(CapacityError):
        await create(manager)
    await eventually(lambda: not world.store.pool, "no member where none can be claimed")
    assert sorted(world.machine.sandboxes) == sorted([first.id, second.id])
    await manager.commands.delete(ALICE, first.id, reason="deleted", wait=True)
    await filled(world, 1)
    await manager.kill()


async def test_the_pool_gives_memory_back() -> None:
    world = World(pool_size=2)
    world.memory.memory = Memory(100, 100)
    manager = await opened(world)
    await filled(world, 2)
    world.memory.memory = Memory(5, 100)
    await eventually(lambda: not world.store.pool and not world.machine.sandboxes, "an empty pool")
    assert manager.pool.report()["limited_by"] == "memory"
    world.memory.memory = Memory(50, 100)
    await filled(world, 2)
    await manager.kill()


async def test_a_drain_ends_the_pool() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    await filled(world, 1)
    manager.defaults.draining = True
    await eventually(lambda: not world.store.pool and not world.machine.sandboxes, "an empty pool")
    await manager.kill()


async def test_an_older_gateway_means_no_pool_and_health_says_so() -> None:
    world = World(pool_size=1)
    world.gateway.holds = False
    manager = await opened(world)
    await eventually(lambda: bool(manager.pool.report()["problem"]), "a reason")
    assert world.store.pool == {}
    with pytest.raises(DependencyError, match="cannot hold sandboxes"):
        await manager.pool.check()
    world.gateway.holds = True
    await filled(world, 1)
    await manager.pool.check()
    world.gateway.holds = False
    await eventually(lambda: not world.store.pool and not world.machine.sandboxes, "an empty pool")
    await manager.kill()


async def test_a_gateway_that_is_away_delays_the_pool_and_loses_no_member() -> None:
    world = World(pool_size=2)
    manager = await opened(world)
    members = await filled(world, 2)
    world.gateway.away = True
    await create_without_wait(manager)
    await asyncio.sleep(20)
    assert ready(world) == members[1:], "what is ready stays"
    assert len(world.machine.sandboxes) == 2, "none is started without the gateway"
    world.gateway.away = False
    await filled(world, 2)
    await manager.kill()


async def test_a_gateway_that_lost_its_state_costs_the_members_and_no_session() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    world.gateway.sandboxes.clear()  # and the folder to which the container is bound
    world.gateway.started_at += timedelta(seconds=1)
    await eventually(lambda: ready(world) not in ([], [member]), "a member with sockets")
    assert [UUID(entry.session_id) for entry in world.gateway.sandboxes.values()] == ready(world)
    await manager.kill()


async def test_members_that_fail_are_tried_ever_more_seldom_and_health_says_why() -> None:
    world = World(pool_size=1)
    manager = await opened(world)

    async def kill_all() -> None:
        while True:
            for member in list(world.store.pool):
                if world.machine.state(member) is SandboxState.RUNNING:
                    await world.machine.kill(member)
            await asyncio.sleep(0.01)

    killing = asyncio.create_task(kill_all(), name="kill all")
    await asyncio.sleep(120)
    assert 3 <= len(world.machine.starts) <= 10
    with pytest.raises(DependencyError, match=r"members in a row have failed: its container exited with 137"):
        await manager.pool.check()
    killing.cancel()
    await filled(world, 1)
    await manager.pool.check()
    await manager.kill()


async def test_two_managers_share_one_pool_and_neither_claims_twice() -> None:
    world = World(pool_size=3)
    one = await opened(world, most_live=12)
    other = Manager(world, holder="manager-1", most_live=12)
    await other.start()
    members = await filled(world, 3)
    made = await asyncio.gather(*(create(manager) for manager in (one, other) for _ in range(3)))
    assert len({session.id for session in made}) == 6
    warm = [session.id for session in made if session.warm_start is WarmStart.CONNECTED]
    assert sorted(warm) == sorted(members)
    await filled(world, 3)
    assert len(world.machine.sandboxes) == 9
    await one.kill()
    await create(other)
    await filled(world, 3)
    await other.kill()


async def test_two_leaders_at_once_do_no_harm() -> None:
    """A leader that hangs longer than its lease continues beside its successor."""
    world = World(pool_size=2)
    managers = [await opened(world, most_live=12), Manager(world, holder="manager-1", most_live=12)]
    await managers[1].start()
    for number in range(5):
        await asyncio.gather(*(manager.pool.keep() for manager in managers for _ in range(2)))
        world.machine.made_from = f"image-{number}"
    await filled(world, 2)
    await eventually(lambda: len(world.machine.sandboxes) == len(world.machine.volumes) == 2, "nothing left over")
    for manager in managers:
        await manager.kill()


async def test_a_leader_that_is_late_removes_what_it_started_for_nobody() -> None:
    world = World(pool_size=1)
    manager = Manager(world)
    await manager.gateway_keeper.once()
    shape = Shape("image-1", 4 << 30, 1.0, 1024)
    pool = MemoryPool(world.store, world.clock)
    member = await pool.add(UUID(int=7), shape, profile="default", most=1)
    assert member is not None
    await pool.retire(member.id)
    await pool.forget(member.id)  # another manager has removed it meanwhile
    await start_late(manager, member)
    assert (world.machine.sandboxes, world.machine.volumes, world.gateway.sandboxes) == ({}, {}, {})
    await manager.kill()


async def start_late(manager: Manager, member: Member) -> None:
    """Carry out a decision that was made before the member was removed."""
    await manager.pool._start(member)


async def test_a_sweep_leaves_members_alone_and_takes_what_has_no_row() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    await asyncio.sleep(300)
    report = await manager.sweeper.sweep(dry_run=True)
    assert report.entries == []
    del world.store.pool[member]
    await eventually(lambda: member not in world.machine.sandboxes, "the sweep", seconds=300)
    await manager.kill()


async def test_an_older_database_costs_no_work_of_a_session_that_has_claimed_a_member() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    before = world.store.pool[member]
    session = await create(manager)
    await manager.commands.input(ALICE, session.id, "work", input_id="one", wait_s=None)
    await manager.kill()
    del world.store.sessions[session.id]  # the database is restored from a moment before the create
    world.store.pool = {member: before}
    manager = await opened(world)
    await eventually(lambda: member not in world.store.pool, "the row goes")
    await filled(world, 1)
    await asyncio.sleep(300)
    assert member in world.machine.volumes, "unknown work is kept as long as the sweep keeps it"
    assert member not in world.machine.sandboxes, "the sweep takes its container after the quarantine"
    await manager.kill()


async def test_a_repeated_create_is_answered_with_its_claimed_session() -> None:
    world = World(pool_size=2)
    manager = await opened(world)
    await filled(world, 2)
    key = Idempotency("key", "digest")
    made = [
        (await manager.commands.create(ALICE, CreateRequest(), idempotency=key, wait=True)).session.id for _ in range(2)
    ]
    assert len(set(made)) == 1
    await filled(world, 2)
    assert world.store.claims == {"connected": 1}
    await manager.kill()
