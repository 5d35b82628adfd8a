"""A sandbox that its engine does not remove: the session says so once, and the removal is repeated until it works."""

import asyncio

import pytest

from jelmore.control.stuck_removals import CODE, MAX_REMEMBERED, STUCK_AFTER_S, StuckRemovals
from jelmore.session.errors import DependencyError
from jelmore.session.events import EventType
from jelmore.session.states import SessionStatus, Wanted
from jelmore.session.world import Sandbox, SandboxState
from tests.unit.control.machine import Machine
from tests.unit.control.manager_harness import ManagerHarness
from tests.unit.control.world import ALICE, World, until

BUSY = DependencyError("docker", "a container is still being removed after 15 s")


class StuckMachine(Machine):
    """A machine that removes nothing while it is stuck."""

    def __init__(self) -> None:
        super().__init__()
        self.stuck = True
        self.tries = 0

    async def remove(self, sandbox_id: str) -> None:
        self.tries += 1
        if self.stuck:
            await asyncio.sleep(15)
            raise BUSY
        await super().remove(sandbox_id)


@pytest.mark.parametrize("lost", [False, True])
async def test_a_sandbox_that_is_not_removed_is_an_event_and_the_end_comes_when_it_is_gone(*, lost: bool) -> None:
    machine = StuckMachine()
    harness = ManagerHarness(World(machine=machine))
    await harness.manager.start()
    session_id = await harness.create()
    if lost:  # it has ended by itself: its session waits for the place of the next one
        machine.die(session_id, 137)
    else:
        await harness.commands.delete(ALICE, session_id, reason="deleted", wait=False)
    await asyncio.sleep(10 * STUCK_AFTER_S)
    events = harness.world.store.kept_events[session_id]
    errors = [each.payload for each in events if each.type == EventType.ERROR_RECEIVED]
    reported, *more = [each for each in errors if each["code"] == CODE]
    assert more == [], "once, however often it is tried"
    assert "is still being removed" in reported["message"]
    assert reported["container_id"] in reported["message"]
    assert machine.tries > 10
    if not lost:
        record = await harness.record(session_id)
        assert (record.wanted, record.ended) == (Wanted.ENDED, False)
    machine.stuck = False
    if lost:
        await until(harness.world, session_id, lambda one: one.generation == 2, "the next sandbox")
    else:
        await until(harness.world, session_id, lambda one: one.status is SessionStatus.TERMINATED, "the end")
    await harness.manager.kill()


async def test_what_is_remembered_is_bounded_and_forgotten() -> None:
    removals = StuckRemovals()
    sandboxes = [Sandbox(1, SandboxState.RUNNING, f"c-{number}") for number in range(MAX_REMEMBERED + 1)]
    for each in sandboxes:
        assert removals.failed(each, BUSY) is None
    await asyncio.sleep(STUCK_AFTER_S)
    assert removals.failed(sandboxes[-1], BUSY) is None, "there is no room for it"
    assert removals.failed(sandboxes[0], BUSY) is not None
    assert removals.failed(sandboxes[0], BUSY) is not None, "the event was not stored"
    removals.reported(sandboxes[0])
    assert removals.failed(sandboxes[0], BUSY) is None
    removals.removed(sandboxes[0])
    removals.removed(sandboxes[0])
    assert removals.failed(sandboxes[-1], BUSY) is None
    await asyncio.sleep(STUCK_AFTER_S)
    assert removals.failed(sandboxes[-1], BUSY) is not None
