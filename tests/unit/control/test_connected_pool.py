"""The warm pool on the fakes: its members have an agent, if it may be started before there is a session."""

import asyncio

import pytest

from jelmore.control.requests import CreateRequest
from jelmore.session.errors import DependencyError
from jelmore.session.pool import MemberState
from jelmore.session.profiles import Profile
from jelmore.session.warm_start import WarmStart
from jelmore.session.world import SandboxState
from tests.unit.control.test_pool import create, eventually, filled, opened
from tests.unit.control.world import ADMIN, ALICE, World


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


async def test_a_profile_has_members_of_its_own_and_others_may_have_them() -> None:
    world = World(pool_size=1, profile_pools={"review": 1})
    manager = await opened(world)
    manager.plain_options["effort"] = "low"
    await filled(world, 2)
    [mine] = [each.id for each in world.store.pool.values() if each.profile == "review"]
    request = CreateRequest(profile=Profile("review"), options={"effort": "low"})
    session = (await manager.commands.create(ALICE, request, idempotency=None, wait=True)).session
    assert (session.id, session.warm_start) == (mine, WarmStart.CONNECTED)
    other = CreateRequest(profile=Profile("other"))
    session = (await manager.commands.create(ALICE, other, idempotency=None, wait=True)).session
    assert session.warm_start is WarmStart.RUNNER, "the sandbox fits, the agent does not"
    stats = (await manager.queries.stats(ADMIN)).to_mapping()
    assert stats["pool"]["size"] == 2
    await manager.kill()


async def test_the_members_of_a_profile_that_wants_none_any_more_are_removed() -> None:
    world = World(pool_size=0, profile_pools={"review": 1})
    manager = await opened(world)
    [member] = await filled(world, 1)
    del world.profile_pools["review"]
    await eventually(lambda: not world.store.pool and member not in world.machine.sandboxes, "it is removed")
    await manager.kill()


async def test_a_profile_whose_members_fail_does_not_delay_those_of_others() -> None:
    world = World(pool_size=1, profile_pools={"broken": 1})
    manager = await opened(world, most_live=20)

    async def kill_broken() -> None:
        while True:
            for member in list(world.store.pool.values()):
                if member.profile == "broken" and world.machine.state(member.id) is SandboxState.RUNNING:
                    await world.machine.kill(member.id)
            await asyncio.sleep(0.01)

    def whole() -> bool:
        kept = [each.state for each in world.store.pool.values() if each.profile == "default"]
        return kept == [MemberState.READY]

    killing = asyncio.create_task(kill_broken(), name="kill broken")
    await asyncio.sleep(150)  # the next member of the broken profile is a minute away
    for _ in range(5):
        await eventually(whole, "the default profile has its member", 10)
        assert (await create(manager)).warm_start is WarmStart.CONNECTED
    with pytest.raises(DependencyError, match="members in a row have failed"):
        await manager.pool.check()
    killing.cancel()
    await manager.kill()
