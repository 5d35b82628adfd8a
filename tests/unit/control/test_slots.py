"""A session that gives its slot to another one loses nothing: not its record, not its work, not its end."""

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from jelmore.control.requests import CreateRequest
from jelmore.session.errors import CapacityError
from jelmore.session.states import Presence, WaitingFor
from jelmore.session.world import SandboxState
from tests.unit.control.manager_harness import ManagerHarness
from tests.unit.control.world import ALICE, until


async def paused(harness: ManagerHarness) -> UUID:
    """Return a session that is paused, in a deployment with one slot."""
    harness.manager.defaults.most_live = 1
    timing = {"idle_after_s": 4.0, "hibernate_after_s": 1000.0}
    request = CreateRequest(
        query="one " * 1000,
        timing=timing,
        system_prompt="Be brief.",
        mcp_servers={"m": {"command": "x"}},
        options={"tools": ["Read"]},
    )
    session_id = (await harness.commands.create(ALICE, request, idempotency=None, wait=True)).session.id
    await harness.runner(session_id).finish()
    await until(harness.world, session_id, lambda one: one.presence is Presence.PAUSED, "it is paused")
    await until(
        harness.world, session_id, lambda _: harness.world.machine.state(session_id) is SandboxState.PAUSED, "paused"
    )
    return session_id


async def test_its_record_stays_whole(harness: ManagerHarness) -> None:
    session_id = await paused(harness)
    before = await harness.record(session_id)
    await harness.create()
    after = await harness.record(session_id)
    assert after.presence is Presence.HIBERNATED
    assert (after.spec, after.metadata) == (before.spec, before.metadata)


async def test_one_that_is_being_deleted_gives_nothing(harness: ManagerHarness) -> None:
    session_id = await paused(harness)
    session = await harness.record(session_id)
    ending = await harness.world.store.save(session.ending(harness.world.clock.now(), "deleted"), [])
    with pytest.raises(CapacityError):
        await harness.create()
    assert (await harness.record(session_id)).since == ending.since, "its end has no new deadline"


async def test_one_that_waits_for_an_answer_keeps_the_process_that_asked(harness: ManagerHarness) -> None:
    session_id = await paused(harness)
    await harness.world.store.save(replace(await harness.record(session_id), waiting_for=WaitingFor.PERMISSION), [])
    with pytest.raises(CapacityError):
        await harness.create()
    assert (await harness.record(session_id)).presence is Presence.PAUSED


async def test_one_whose_processes_still_run_is_not_ended(harness: ManagerHarness) -> None:
    session_id = await paused(harness)
    await harness.world.machine.unpause(harness.world.machine.sandboxes[session_id][1].id)
    with pytest.raises(CapacityError):
        await harness.create()
    await until(
        harness.world, session_id, lambda _: harness.world.machine.state(session_id) is SandboxState.PAUSED, "again"
    )
    await asyncio.sleep(2)  # the look that found none is over
    await harness.create()
    assert (await harness.record(session_id)).presence is Presence.HIBERNATED


async def test_many_that_sleep_already_do_not_hide_it(harness: ManagerHarness) -> None:
    session_id = await paused(harness)
    kept = await harness.record(session_id)
    for number in range(1100):
        asleep = replace(kept, id=UUID(int=number), presence=Presence.HIBERNATED, container_id=None)
        harness.world.store.sessions[asleep.id] = replace(asleep, last_activity_at=harness.world.clock.now())
    made = (await harness.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)).session
    assert made.id != session_id
    assert (await harness.record(session_id)).presence is Presence.HIBERNATED
