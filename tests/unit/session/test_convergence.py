"""From every pair of record and world, steps must settle: no illegal move, no endless work, nothing left over."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from jelmore.session.record import Detail, Session, Spec, Timing
from jelmore.session.states import ENDED, Fact, Presence, SessionStatus, WaitingFor, Wanted
from jelmore.session.steps import (
    Act,
    EndIt,
    Policy,
    Rest,
    Seen,
    Step,
    Warn,
    next_step,
)
from jelmore.session.world import Box, BoxState, Route, Runner, RunnerPhase, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy()
STEPS = 200

RECORDS = [
    (status, wanted, presence, started)
    for status, wanted, presence, started in itertools.product(SessionStatus, Wanted, Presence, (True, False))
    if presence is Presence.AWAKE or (status is SessionStatus.IDLE or status in ENDED)
]
WORLDS = [
    (box, old, phase, route, attached, working)
    for box, old, phase, route, attached, working in itertools.product(
        [None, *BoxState], (True, False), [None, *RunnerPhase], Route, (True, False), (True, False)
    )
    if (box is BoxState.RUNNING or phase is None) and not (working and phase is not RunnerPhase.READY)
]


def make_session(status: SessionStatus, wanted: Wanted, presence: Presence, started: bool) -> Session:
    return Session(
        id=UUID(int=1),
        owner="key",
        spec=Spec(timing=Timing(idle_after_s=300, hibernate_after_s=1800, timeout_s=0)),
        created_at=NOW,
        last_activity_at=NOW,
        since=NOW,
        status=status,
        wanted=wanted,
        presence=presence,
        generation=2,
        output_seq=5,
        waiting_for=WaitingFor.PROMPT if status in {SessionStatus.WAITING_INPUT, SessionStatus.IDLE} else None,
        container_id="c" if started else None,
        ended_at=NOW if status in ENDED else None,
    )


class Simulation:
    """A world that obeys: every act does at once what it should, and a runner advances by itself while waited for."""

    def __init__(self, session: Session, world: World) -> None:
        self.session, self.world, self.now = session, world, NOW

    def take(self, step: Step) -> bool:
        """Carry out a step; return whether the session rests for good or for minutes."""
        match step:
            case Rest(seconds):
                if seconds is None or seconds > 60:
                    return True
                self.now += timedelta(seconds=max(seconds, 0.05))
                self._time_passes()
            case Seen(fact, detail):
                self.session, _ = self.session.after(fact, self.now, detail)
                if fact in {Fact.LOST, Fact.SLEPT}:
                    self.world = replace(self.world, attached=False)
            case EndIt(reason):
                self.session = self.session.ending(self.now, reason)
            case Warn():
                self.session = replace(self.session, warned_at=self.now)
            case Act():
                self._act(step)
        return False

    def _time_passes(self) -> None:
        runner, box = self.world.runner, self.world.box
        if runner is None:
            if box is not None and box.state is BoxState.RUNNING:
                fails = self.world.probes_failed + 1
                self.world = replace(self.world, probes_failed=fails)
            return
        if runner.phase is RunnerPhase.STARTING:
            runner = replace(runner, phase=RunnerPhase.READY)
        if runner.working:
            runner = replace(runner, working=False)
            if self.session.status is SessionStatus.ACTIVE:
                waited = Detail(waiting_for=WaitingFor.PROMPT)
                self.session, _ = self.session.after(Fact.WAITED, self.now, waited)
        if self.world.attached:
            self.session = replace(self.session, output_seq=max(runner.seq, self.session.output_seq))
        self.world = replace(self.world, runner=runner)

    def _act(self, act: Act) -> None:
        world, box, runner = self.world, self.world.box, self.world.runner
        generation = self.session.generation
        dormant = Runner(phase=RunnerPhase.DORMANT, generation=0, seq=5)
        match act:
            case Act.START:
                world = replace(world, box=Box(generation, BoxState.RUNNING, "new"), runner=dormant, probes_failed=0)
            case Act.INIT:
                assert runner is not None
                world = replace(world, runner=replace(runner, phase=RunnerPhase.STARTING, generation=generation))
            case Act.ATTACH:
                world = replace(world, attached=True)
            case Act.PUBLISH:
                world = replace(world, route=Route.RUNNER)
            case Act.PUBLISH_ASLEEP:
                world = replace(world, route=Route.MANAGER)
            case Act.WITHDRAW:
                world = replace(world, route=Route.ABSENT)
            case Act.QUIET | Act.OPEN:
                assert runner is not None
                world = replace(world, runner=replace(runner, quiet=act is Act.QUIET))
            case Act.FREEZE:
                assert box is not None
                world = replace(world, box=replace(box, state=BoxState.PAUSED), runner=None)
            case Act.THAW:
                assert box is not None
                ready = Runner(phase=RunnerPhase.READY, generation=generation, seq=5)
                world = replace(world, box=replace(box, state=BoxState.RUNNING), runner=ready)
            case Act.STOP:
                assert runner is not None
                world = replace(world, runner=replace(runner, phase=RunnerPhase.ENDED, seq=7, exit_code=0))
            case Act.REMOVE:
                world = replace(world, box=None, runner=None, attached=False)
        self.world = world


def make_world(
    box: BoxState | None, old: bool, phase: RunnerPhase | None, route: Route, attached: bool, working: bool
) -> World:
    generation = 1 if old else 2
    return World(
        box=Box(generation, box, "c", exit_code=137 if box is BoxState.EXITED else None) if box else None,
        runner=Runner(phase=phase, generation=generation, seq=6, working=working) if phase and not old else None,
        route=route,
        attached=attached and phase is not None,
    )


@pytest.mark.parametrize(("status", "wanted", "presence", "started"), RECORDS)
def test_every_record_settles_in_every_world(
    status: SessionStatus, wanted: Wanted, presence: Presence, started: bool
) -> None:
    for parts in WORLDS:
        simulation = Simulation(make_session(status, wanted, presence, started), make_world(*parts))
        history: list[Step] = []
        for _ in range(STEPS):
            step = next_step(simulation.session, simulation.world, simulation.now, POLICY)
            history.append(step)
            if simulation.take(step):
                break
        else:
            pytest.fail(f"does not settle from {parts}: {history[-8:]}")
        session, world = simulation.session, simulation.world
        if wanted is Wanted.ENDED or status in ENDED:
            assert session.ended, (parts, history)
        if session.ended:
            assert world.box is None, (parts, history)
            assert world.route is Route.ABSENT, (parts, history)
        elif session.presence is Presence.AWAKE:
            assert world.route is Route.RUNNER, (parts, history)
            assert world.attached, (parts, history)
            assert world.box is not None, (parts, history)
            assert world.box.generation == session.generation, (parts, history)
        else:
            assert world.route is Route.MANAGER, (parts, history)
            expected = BoxState.PAUSED if session.presence is Presence.FROZEN else None
            assert (world.box.state if world.box else None) is expected, (parts, history)
