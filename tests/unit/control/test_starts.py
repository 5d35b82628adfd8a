"""Containers that start, are taken away, and start again; and starts that cannot succeed."""

import asyncio
from uuid import UUID

from jelmore.control.requests import CreateRequest
from jelmore.ports import Address
from jelmore.session.errors import DependencyError
from jelmore.session.record import Session
from jelmore.session.states import ContainerPhase, Presence, SessionStatus, Wanted
from jelmore.session.world import Route, SandboxState
from jelmore_protocol.events import AgentState
from tests.fakes.edge import FakeEdge
from tests.unit.control.world import ALICE, POLICY, Manager, World, until


class FullEdge(FakeEdge):
    """An edge whose folder of routes takes nothing more."""

    async def publish(self, session_id: UUID, to: Address | None, *, route: Route) -> None:
        raise DependencyError("caddy", "cannot publish: No space left on device")


async def paused(world: World, session_id: UUID, generation: int) -> None:
    def holds(session: Session) -> bool:
        rests = session.presence is Presence.PAUSED and session.container_phase is ContainerPhase.SERVING
        state = world.machine.state(session_id)
        return session.ended or (rests and session.generation == generation and state is SandboxState.PAUSED)

    await until(world, session_id, holds, "the pause")
    assert not (await world.store.load(session_id)).ended, (await world.store.load(session_id)).failure


async def test_a_paused_session_survives_the_loss_of_one_container_after_the_other() -> None:
    world = World()
    manager = Manager(world)
    await manager.start()
    request = CreateRequest(timing={"idle_after_s": 4, "hibernate_after_s": 0, "timeout_s": 0})
    session_id = (await manager.commands.create(ALICE, request, idempotency=None, wait=True)).session.id
    for generation in range(1, 5):
        await paused(world, session_id, generation)
        await asyncio.sleep(POLICY.restart_window_s + 1)  # far beyond the deadline of a start
        await world.machine.snatch(session_id)
    await paused(world, session_id, 5)
    await manager.kill()


async def test_a_start_that_cannot_be_published_fails_on_time_and_leaves_nothing() -> None:
    world = World(edge=FullEdge())
    manager = Manager(world)
    await manager.start()
    created = await manager.commands.create(ALICE, CreateRequest(), idempotency=None, wait=False)
    began = asyncio.get_running_loop().time()
    await until(world, created.session.id, lambda session: session.ended, "the failure")
    # The last look before the deadline may come as long before it as a failed step is retried late.
    assert asyncio.get_running_loop().time() - began <= POLICY.start_timeout_s + 16
    session = await world.store.load(created.session.id)
    assert (session.status, session.end_reason) == (SessionStatus.FAILED, "start_timeout")
    assert "publish" in session.failure.message
    await until(world, session.id, lambda _: world.machine.state(session.id) is None, "the removal")
    await manager.kill()


async def test_a_session_in_use_is_not_ended_as_idle_when_a_manager_returns() -> None:
    """Its clients speak to the runner itself, so it was used while nobody stored its output."""
    world = World()
    first = Manager(world)
    await first.start()
    request = CreateRequest(timing={"idle_after_s": 0, "hibernate_after_s": 0, "timeout_s": 60, "warn_before_s": 0})
    session_id = (await first.commands.create(ALICE, request, idempotency=None, wait=True)).session.id
    await first.kill()
    await asyncio.sleep(600)
    runner = world.machine.runner(session_id)
    await runner.become(AgentState.ACTIVE)
    second = Manager(world)
    await second.start()
    await until(world, session_id, lambda session: session.ended or session.output_seq == runner.seq, "the output")
    await asyncio.sleep(600)
    session = await world.store.load(session_id)
    assert (session.status, session.wanted) == (SessionStatus.ACTIVE, Wanted.RUNNING), "it works"
    await second.kill()
