"""An input that wakes a hibernated session is accepted when its journal is open: its agent may still be starting."""

import asyncio

import pytest

from jelmore.control.requests import CreateRequest
from jelmore.session.states import Presence
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
