"""The warm pool on the fakes: its members have an agent, if it may be started before there is a session."""

import asyncio

from jelmore.control.requests import CreateRequest
from jelmore.session.warm_start import WarmStart
from tests.unit.control.test_pool import create, eventually, filled, opened
from tests.unit.control.world import ALICE, World


async def test_a_create_with_other_options_gets_the_sandbox_and_starts_its_own_agent() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    request = CreateRequest(system_prompt="be brief")
    session = (await manager.commands.create(ALICE, request, idempotency=None, wait=True)).session
    assert (session.id, session.warm_start, session.generation) == (member, WarmStart.RUNNER, 1)
    assert world.store.claims == {"runner": 1}
    await manager.kill()


async def test_a_runner_of_an_earlier_image_is_offered_without_an_agent() -> None:
    world = World(pool_size=1)
    world.machine.agents_ahead = False
    manager = await opened(world)
    [member] = await filled(world, 1)
    assert world.machine.runner(member).prepared is None
    assert (await create(manager)).warm_start is WarmStart.RUNNER
    await manager.kill()


async def test_agents_are_started_like_those_of_a_create_that_asks_for_nothing() -> None:
    world = World(pool_size=1)
    manager = await opened(world)
    [member] = await filled(world, 1)
    runner = world.machine.runner(member)
    assert runner.prepared is not None
    assert runner.prepared.session_id == str(member)
    manager.plain_options["env"] = {"TOKEN": "secret"}  # from now on, as if the default profile had changed
    manager.plain_options["fallback_model"] = "other"
    before = runner.prepared
    await asyncio.sleep(30)
    assert runner.prepared is before, "nothing that may be a secret goes to a sandbox without a session"
    del manager.plain_options["env"]
    await eventually(lambda: runner.prepared is not before, "the agent is started again")
    await manager.kill()
