"""What is foreseen of an act is what a new look would show, in every world."""

from dataclasses import replace

import pytest

from jelmore.session.acts import Act
from jelmore.session.foreseen import MAX_STEPS, world_after
from jelmore.session.states import Presence, SessionStatus, Wanted
from jelmore.session.steps import next_step
from jelmore.session.world import Runner, RunnerPhase, Sandbox, SandboxState, World
from tests.unit.session.test_convergence import POLICY, RECORDS, WORLDS, Simulation, make_session, make_world


@pytest.mark.parametrize(("status", "wanted", "presence", "started"), RECORDS)
def test_the_foreseen_world_is_the_one_that_the_act_leaves(
    status: SessionStatus, wanted: Wanted, presence: Presence, started: bool
) -> None:
    for parts in WORLDS:
        simulation = Simulation(make_session(status, wanted, presence, started), make_world(*parts))
        act = next_step(simulation.session, simulation.world, simulation.now, POLICY)
        before = simulation.world
        if isinstance(act, Act):
            simulation.take(act)
            foreseen = world_after(before, act, simulation.world.runner if act is Act.INIT else None)
            assert foreseen in {None, simulation.world}, (parts, act)


def test_one_pass_is_enough_for_a_runner_that_is_ready_at_once() -> None:
    session = replace(make_session(SessionStatus.INITIALIZING, Wanted.RUNNING, Presence.AWAKE, False), generation=1)
    world, ready = World(sandbox=Sandbox(1, SandboxState.RUNNING, "c")), Runner(RunnerPhase.READY, 1, 0)
    world = replace(world, runner=Runner(RunnerPhase.DORMANT, 0, 0))
    acts = []
    for _ in range(MAX_STEPS):
        step = next_step(session, world, session.since, POLICY)
        if not isinstance(step, Act):
            break
        acts.append(step)
        foreseen = world_after(world, step, ready if step is Act.INIT else None)
        assert foreseen is not None
        world = foreseen
    assert acts == [Act.INIT, Act.ATTACH, Act.PUBLISH]
