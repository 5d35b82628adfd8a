"""An input that wakes a hibernated session is accepted when its journal is open: its agent may still be starting."""

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from jelmore.control.recorded_inputs import recorded_seq
from jelmore.control.requests import Accepted, CreateRequest
from jelmore.control.sessions import runner_calls
from jelmore.session.errors import ConflictError, WorkspaceFullError
from jelmore.session.pending_inputs import MAX_PENDING_BYTES
from jelmore.session.record import Session
from jelmore.session.states import Presence
from jelmore_protocol.content import TextBlock
from jelmore_protocol.control import Phase
from jelmore_protocol.events import AgentState, WaitingFor
from tests.unit.control.world import ALICE, Manager, World, until


async def hibernated(world: World) -> tuple[Manager, "asyncio.Task[int]"]:
    """Return a manager, and an input that is on its way to a hibernated session whose agent does not connect."""
    manager = Manager(world)
    await manager.start()
    request = CreateRequest(timing={"idle_after_s": 1, "hibernate_after_s": 2})
    created = await manager.commands.create(ALICE, request, idempotency=None, wait=True)
    session_id = created.session.id
    await until(world, session_id, lambda one: one.presence is Presence.HIBERNATED, "the hibernation")
    await until(world, session_id, lambda _: world.machine.sandbox(session_id) is None, "the end of its container")
    world.machine.runners.connects = False

    async def send() -> int:
        accepted = await manager.commands.input(ALICE, session_id, "go on", input_id="one", wait_s=None)
        return accepted.seq

    return manager, asyncio.create_task(send(), name="input")


async def test_an_input_is_accepted_before_the_agent_is_connected_and_runs_once() -> None:
    world = World()
    manager, sending = await hibernated(world)
    assert await asyncio.wait_for(sending, 30) > 0
    [session] = world.store.sessions.values()
    await until(world, session.id, lambda one: not one.pending_inputs, "the input in the output")
    [session] = world.store.sessions.values()
    runner = world.machine.runner(session.id)
    assert (runner.phase, session.container_id) == (Phase.STARTING, None)
    assert runner.disk.executed == ["one"]
    runner.phase = Phase.READY
    await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)
    await until(world, session.id, lambda one: one.container_id is not None, "its new container")
    assert (await manager.commands.input(ALICE, session.id, "go on", input_id="one", wait_s=None)).seq > 0
    assert runner.disk.executed == ["one"]
    await manager.kill()


async def test_an_input_reaches_a_session_that_another_manager_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, sending = await hibernated(world)
    world.machine.runners.connects = True
    monkeypatch.setattr(manager.ports.lookup, "began", lambda _: None)  # as if another one had initialized it
    assert await asyncio.wait_for(sending, 30) > 0
    await manager.kill()


async def asleep(world: World) -> tuple[Manager, UUID]:
    """Return a manager, and a hibernated session whose container is gone."""
    manager, sending = await hibernated(world)
    sending.cancel()
    world.machine.runners.connects = True
    [session] = world.store.sessions.values()
    return manager, session.id


async def send(manager: Manager, session_id: UUID, text: Any = "go on", input_id: str = "one") -> Accepted:
    return await manager.commands.input(ALICE, session_id, text, input_id=input_id, wait_s=None)


async def executes(world: World, session_id: UUID, *ids: str) -> None:
    """Wait until the agent got exactly these inputs, in this order."""

    def executed(session: Session) -> bool:
        disk = world.machine.disks[session_id]
        return len(disk.executed) >= len(ids) and not session.pending_inputs and session.container_id is not None

    await until(world, session_id, executed, f"the inputs {ids}")
    assert world.machine.disks[session_id].executed == list(ids)


async def test_an_input_is_accepted_before_there_is_a_container_and_the_next_reads_show_it() -> None:
    world = World()
    manager, session_id = await asleep(world)
    before = await world.store.load(session_id)
    accepted = await send(manager, session_id)
    assert (accepted.waking, accepted.seq) == (True, before.output_seq)
    assert world.machine.sandbox(session_id) is None
    shown = await manager.queries.get(ALICE, session_id)
    assert [(each.id, each.input, each.by, each.handed_over) for each in shown.pending_inputs] == [
        ("one", "go on", "key_alice", False)
    ]
    assert (shown.presence, shown.generation) == (Presence.AWAKE, before.generation + 1)
    await executes(world, session_id, "one")
    await manager.kill()


async def test_a_manager_that_dies_has_another_deliver_what_it_accepted() -> None:
    world = World()
    manager, session_id = await asleep(world)
    await send(manager, session_id)
    await manager.kill()
    assert world.machine.sandbox(session_id) is None
    other = Manager(world, holder="manager-1")
    await other.start()
    await executes(world, session_id, "one")
    await other.kill()


async def test_what_a_record_cannot_hold_is_accepted_by_the_runner() -> None:
    world = World()
    for given in ("x" * MAX_PENDING_BYTES, [TextBlock(type="text", text="go")]):
        manager, session_id = await asleep(world)
        accepted = await send(manager, session_id, given)
        assert not accepted.waking
        assert accepted.seq == world.machine.disks[session_id].inputs["one"]
        await manager.kill()
        world = World()


async def test_what_a_record_cannot_hold_is_accepted_before_the_agent_is_connected() -> None:
    world = World()
    manager, session_id = await asleep(world)
    world.machine.runners.connects = False
    accepted = await asyncio.wait_for(send(manager, session_id, [TextBlock(type="text", text="go")]), 30)
    assert not accepted.waking
    session = await world.store.load(session_id)
    assert (world.machine.runner(session_id).phase, session.container_id) == (Phase.STARTING, None)
    await manager.kill()


async def test_inputs_of_two_managers_keep_their_order() -> None:
    world = World()
    manager, session_id = await asleep(world)
    other = Manager(world, holder="manager-1")
    await other.start()
    await send(manager, session_id)
    assert not (await send(other, session_id, input_id="two")).waking
    await executes(world, session_id, "one", "two")
    await other.kill()
    await manager.kill()


async def test_an_id_that_ran_before_leaves_the_record_and_does_not_run_again() -> None:
    world = World()
    manager, session_id = await asleep(world)
    world.machine.disks[session_id].inputs["one"] = 1
    assert (await send(manager, session_id)).waking
    await executes(world, session_id)
    await manager.kill()


async def test_an_input_that_the_runner_refuses_waits_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id = await asleep(world)
    runners = world.machine.runners

    async def refuse(*_: object) -> None:
        raise WorkspaceFullError("the workspace is full")

    with monkeypatch.context() as patched:
        patched.setattr(runners, "input", refuse)
        await send(manager, session_id)
        await until(world, session_id, lambda one: one.container_id is not None, "its container")
        held = await world.store.load(session_id)
        assert [(each.id, each.handed_over, each.refusal) for each in held.pending_inputs] == [
            ("one", False, "the workspace is full")
        ]
        with pytest.raises(ConflictError, match=r"input one.*the workspace is full; cancel it"):
            await send(manager, session_id, input_id="two")
        events = await world.store.events(session_id, 0, 100, ["error.received"])
        assert {event.payload["code"] for event in events} == {"input_waits"}
    assert (await send(manager, session_id)).waking, "it is known, and tried again"
    await executes(world, session_id, "one")
    await manager.kill()


async def test_a_long_refusal_with_unstorable_text_is_kept_as_a_short_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id = await asleep(world)

    async def refuse(*_: object) -> None:
        raise WorkspaceFullError("full\0" + "x" * 60_000)

    monkeypatch.setattr(world.machine.runners, "input", refuse)
    await send(manager, session_id)
    await until(world, session_id, lambda one: one.container_id is not None, "its container")
    [held] = (await world.store.load(session_id)).pending_inputs
    assert held.refusal == "full\ufffd" + "x" * 495
    await manager.kill()


async def test_an_interrupt_during_a_wake_reaches_the_turn_that_is_about_to_begin() -> None:
    world = World()
    manager, session_id = await asleep(world)
    await send(manager, session_id)
    await manager.commands.interrupt(ALICE, session_id)
    assert world.machine.runner(session_id).interrupts == 1
    assert world.machine.disks[session_id].executed == ["one"]
    await manager.kill()


async def test_a_caller_that_waits_gets_the_result_of_the_turn() -> None:
    world = World()
    manager, session_id = await asleep(world)

    async def finish() -> None:
        await executes(world, session_id, "one")
        await world.machine.runner(session_id).finish()

    finishing = asyncio.create_task(finish(), name="agent")
    accepted = await manager.commands.input(ALICE, session_id, "go", input_id="one", wait_s=60)
    await finishing
    assert accepted.result is not None
    assert accepted.waking
    await manager.kill()


async def test_a_caller_that_repeats_an_id_after_its_turn_gets_that_turns_result_and_wakes_nothing() -> None:
    world = World()
    manager = Manager(world)
    await manager.start()
    request = CreateRequest(timing={"idle_after_s": 1, "hibernate_after_s": 2})
    session_id = (await manager.commands.create(ALICE, request, idempotency=None, wait=True)).session.id
    await send(manager, session_id)
    await world.machine.runner(session_id).finish()
    await until(world, session_id, lambda one: one.presence is Presence.HIBERNATED, "the hibernation")
    async with asyncio.timeout(30):
        again = await manager.commands.input(ALICE, session_id, "go on", input_id="one", wait_s=3600)
    assert again.result is not None
    assert again.result["type"] == "result"
    assert (again.waking, world.store.sessions[session_id].presence) == (False, Presence.HIBERNATED)
    assert world.machine.disks[session_id].executed == ["one"]
    await manager.kill()


async def test_an_input_without_an_id_is_not_looked_for_among_all_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    manager, session_id = await asleep(world)
    read: list[UUID] = []

    async def noted(store: Any, asked: UUID, input_id: str) -> int | None:
        read.append(asked)
        return await recorded_seq(store, asked, input_id)

    monkeypatch.setattr(runner_calls, "recorded_seq", noted)
    assert (await manager.commands.input(ALICE, session_id, "go on", input_id=None, wait_s=None)).waking
    assert not read
    await manager.kill()


async def test_a_caller_that_waits_learns_that_its_input_was_cancelled_in_the_record(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    manager, session_id = await asleep(world)

    async def refuse(*_: object) -> None:
        raise WorkspaceFullError("the workspace is full")

    monkeypatch.setattr(world.machine.runners, "input", refuse)
    sending = manager.commands.input(ALICE, session_id, "go", input_id="one", wait_s=3600)
    waiting = asyncio.create_task(sending, name="input")
    await until(world, session_id, lambda one: any(each.refusal for each in one.pending_inputs), "the refusal")
    await manager.store.save(replace(await world.store.load(session_id), pending_inputs=()), [])
    async with asyncio.timeout(30):
        assert (await waiting).result == {"type": "cancelled", "input_id": "one", "by": None}
    await manager.kill()
