"""The calls that make, end, resume and restart sessions, in every state a session can be in."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from jelmore.control.requests import Created, CreateRequest
from jelmore.ports import Idempotency
from jelmore.session.errors import (
    CapacityError,
    ConflictError,
    IdempotencyMismatchError,
    InvalidRequestError,
    RefusedError,
    SessionEndedError,
    StartFailedError,
)
from jelmore.session.record import Session
from jelmore.session.states import Presence, SessionStatus
from jelmore.session.world import Route
from jelmore_protocol.gateway import sandbox_key
from jelmore_protocol.tokens import Scope
from tests.unit.control.manager_harness import STATES, ManagerHarness, in_state
from tests.unit.control.world import ALICE, BOB, until

# --- creating


async def test_created_means_reachable(harness: ManagerHarness) -> None:
    session_id = await harness.create("hello")
    session = await harness.record(session_id)
    assert (session.status, session.container_id is not None) == (SessionStatus.ACTIVE, True)
    assert harness.world.edge.published[session_id][1] is Route.RUNNER
    assert harness.world.machine.disks[session_id].executed == [str(session_id)]


async def test_beyond_capacity_there_is_a_clear_no_and_no_half_session(harness: ManagerHarness) -> None:
    results = await asyncio.gather(*(harness.create() for _ in range(8)), return_exceptions=True)
    assert sum(isinstance(result, UUID) for result in results) == 3
    assert sum(isinstance(result, CapacityError) for result in results) == 5
    assert len(harness.world.store.sessions) == len(harness.world.machine.sandboxes) == 3
    made = next(result for result in results if isinstance(result, UUID))
    await harness.commands.delete(ALICE, made, reason="room", wait=True)
    assert isinstance(await harness.create(), UUID)


async def test_a_paused_session_gives_its_slot_to_one_that_needs_it(harness: ManagerHarness) -> None:
    soon, never = {"idle_after_s": 4.0, "hibernate_after_s": 1000.0}, {"idle_after_s": 4.0, "hibernate_after_s": 0.0}
    ids = [await harness.create(timing=timing) for timing in (soon, soon, never)]
    with pytest.raises(CapacityError):
        await harness.create()
    for session_id in ids:
        await until(harness.world, session_id, lambda one: one.presence is Presence.PAUSED, "it is paused")
    await asyncio.sleep(2)  # virtual time: the look that found none is over
    made = await harness.create()
    assert (await harness.record(ids[0])).presence is Presence.HIBERNATED, "the one that was idle for longest"
    assert (await harness.record(ids[1])).presence is Presence.PAUSED
    await harness.commands.input(ALICE, ids[0], "again", input_id="x", wait_s=None)
    assert (await harness.record(ids[0])).presence is Presence.AWAKE
    assert (await harness.record(ids[1])).presence is Presence.HIBERNATED
    assert (await harness.record(made)).presence is Presence.AWAKE
    assert (await harness.record(ids[2])).presence is Presence.PAUSED, "its owner wants it in memory"
    with pytest.raises(CapacityError):
        await harness.create()


async def test_one_key_makes_one_session(harness: ManagerHarness) -> None:
    key = Idempotency("k", "digest")
    many = await asyncio.gather(
        *(harness.commands.create(ALICE, CreateRequest(), idempotency=key, wait=True) for _ in range(5))
    )
    assert len({created.session.id for created in many}) == 1
    assert sum(created.is_new for created in many) == 1
    with pytest.raises(IdempotencyMismatchError):
        await harness.commands.create(ALICE, CreateRequest(), idempotency=Idempotency("k", "other"), wait=False)
    others = await harness.commands.create(BOB, CreateRequest(), idempotency=key, wait=False)
    assert others.is_new, "a key is its caller's own"


async def test_a_repeated_create_prepares_no_second_workspace_and_leaves_none(harness: ManagerHarness) -> None:
    prepared, cleared = 0, 0
    both = asyncio.Event()

    @asynccontextmanager
    async def prepare(session: Session) -> AsyncIterator[Session]:
        nonlocal prepared, cleared
        prepared += 1
        if prepared == 2:
            both.set()
        await both.wait()
        try:
            yield session
        except BaseException:
            cleared += 1
            raise

    async def create() -> Created:
        key = Idempotency("k", "digest")
        return await harness.commands.create(ALICE, CreateRequest(), idempotency=key, wait=False, prepare=prepare)

    first, second = await asyncio.gather(create(), create())  # both are on their way before one is stored
    assert first.session.id == second.session.id
    assert (prepared, cleared) == (2, 1)
    again = await create()
    assert (again.session.id, again.is_new, prepared) == (first.session.id, False, 2)


async def test_without_waiting_it_is_answered_at_once(harness: ManagerHarness) -> None:
    created = await harness.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)
    assert created.session.status is SessionStatus.INITIALIZING
    await until(harness.world, created.session.id, lambda one: one.status is SessionStatus.WAITING_INPUT, "ready")


@pytest.mark.parametrize("request_", [CreateRequest(limits={"cpus": 99}), CreateRequest(timing={"nap_s": 1})])
async def test_an_invalid_request_creates_nothing(harness: ManagerHarness, request_: CreateRequest) -> None:
    with pytest.raises(InvalidRequestError):
        await harness.commands.create(ALICE, request_, idempotency=None, wait=True)
    assert not harness.world.store.sessions


async def test_a_refused_start_fails_with_its_reason(harness: ManagerHarness, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise RefusedError("docker", "there is no such image")

    monkeypatch.setattr(harness.world.machine, "start", refuse)
    with pytest.raises(StartFailedError, match="no such image"):
        await harness.create()
    (session,) = harness.world.store.sessions.values()
    assert (session.status, session.failure.phase) == (SessionStatus.FAILED, "creating")


async def test_an_end_is_a_revocation_at_the_gateway_before_the_sandbox_is_gone(harness: ManagerHarness) -> None:
    session_id = await harness.create("go")
    await harness.commands.delete(ALICE, session_id, reason="deleted", wait=True)
    assert harness.world.gateway.revoked == [sandbox_key(session_id, 1)]


@pytest.mark.parametrize("state", STATES)
async def test_deleting_is_possible_always_and_twice(harness: ManagerHarness, state: str) -> None:
    session_id = await in_state(harness, state)
    await asyncio.gather(*(harness.commands.delete(ALICE, session_id, reason="r", wait=True) for _ in range(3)))
    session = await harness.record(session_id)
    assert session.status is (SessionStatus.FAILED if state == "failed" else SessionStatus.TERMINATED)
    async with asyncio.timeout(60):
        while harness.world.machine.sandbox(session_id) or session_id in harness.world.edge.published:
            await asyncio.sleep(0.1)
    types = [event.type for event in await harness.world.store.events(session_id, 0, 100)]
    assert types.count("session.terminated") + types.count("session.failed") == 1
    with pytest.raises(SessionEndedError):
        await harness.input(session_id)
    with pytest.raises(SessionEndedError):
        await harness.commands.token(ALICE, session_id, frozenset({Scope.READ}))


@pytest.mark.parametrize("state", STATES)
async def test_resuming_is_for_the_ended(harness: ManagerHarness, state: str) -> None:
    session_id = await in_state(harness, state)
    if state not in {"terminated", "failed"}:
        with pytest.raises(ConflictError):
            await harness.commands.resume(ALICE, session_id, wait=True)
        return
    results = await asyncio.gather(
        *(harness.commands.resume(ALICE, session_id, wait=True) for _ in range(3)), return_exceptions=True
    )
    assert sum(isinstance(result, Session) for result in results) == 1
    assert sum(isinstance(result, ConflictError) for result in results) == 2
    session = await harness.record(session_id)
    assert (session.status, session.generation) == (SessionStatus.WAITING_INPUT, 2)
    init = harness.runner(session_id).init
    assert init is not None
    assert init.resume


async def test_nothing_is_resumed_without_its_workspace(harness: ManagerHarness) -> None:
    session_id = await in_state(harness, "terminated")
    await harness.world.machine.erase(session_id)
    with pytest.raises(ConflictError, match="workspace=new"):
        await harness.commands.resume(ALICE, session_id, wait=True)

    async def make(made_for: UUID) -> None:
        harness.world.machine.volumes[made_for] = b""

    resumed = await harness.commands.resume(ALICE, session_id, wait=True, make_workspace=make)
    assert resumed.status is not SessionStatus.FAILED
    await harness.commands.delete(ALICE, session_id, reason="done", wait=True)
    with pytest.raises(ConflictError, match="has its workspace"):
        await harness.commands.resume(ALICE, session_id, wait=True, make_workspace=make)


@pytest.mark.parametrize("how", ["wake", "restart", "crash"])
async def test_a_lost_workspace_ends_the_session_with_that_reason(harness: ManagerHarness, how: str) -> None:
    machine = harness.world.machine
    if how == "wake":
        session_id = await harness.sleeping_session(Presence.HIBERNATED)
        await machine.erase(session_id)
        await harness.input(session_id, "go", "kept")
    else:
        session_id = await in_state(harness, "waiting")
        del machine.volumes[session_id]
        await (harness.commands.restart(ALICE, session_id) if how == "restart" else machine.kill(session_id))
    await until(harness.world, session_id, lambda one: one.ended, "ended")
    lost = await harness.record(session_id)
    assert (lost.status, lost.end_reason) == (SessionStatus.FAILED, "workspace_lost")
    assert lost.failure is not None
    assert "workspace" in lost.failure.message
    assert [each.id for each in lost.pending_inputs] == (["kept"] if how == "wake" else [])
    assert session_id not in machine.volumes, "no empty one took its place"
    with pytest.raises(ConflictError, match="workspace"):
        await harness.commands.resume(ALICE, session_id, wait=True)


@pytest.mark.parametrize("state", STATES)
async def test_restarting_is_for_those_with_an_agent(harness: ManagerHarness, state: str) -> None:
    session_id = await in_state(harness, state)
    if state not in {"active", "waiting"}:
        with pytest.raises(ConflictError):
            await harness.commands.restart(ALICE, session_id)
        return
    before = await harness.record(session_id)
    after = await harness.commands.restart(ALICE, session_id)
    assert (after.generation, after.restarts) == (before.generation + 1, before.restarts)
    assert after.container_id not in {None, before.container_id}
    await until(harness.world, session_id, lambda one: one.status is SessionStatus.WAITING_INPUT, "waiting")
