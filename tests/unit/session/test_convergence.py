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
    Policy,
    RecordFact,
    RequestEnd,
    Step,
    Wait,
    Warn,
    next_step,
)
from jelmore.session.world import Route, Runner, RunnerPhase, Sandbox, SandboxState, World

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy()
STEPS = 200

RECORDS = [
    (status, wanted, presence, started)
    for status, wanted, presence, started in itertools.product(SessionStatus, Wanted, Presence, (True, False))
    if presence is Presence.AWAKE or (status is SessionStatus.IDLE or status in ENDED)
]
WORLDS = [
    (sandbox, old, phase, route, attached, working)
    for sandbox, old, phase, route, attached, working in itertools.product(
        [None, *SandboxState], (True, False), [None, *RunnerPhase], Route, (True, False), (True, False)
    )
    if (sandbox is SandboxState.RUNNING or phase is None) and not (working and phase is not RunnerPhase.READY)
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
            case Wait(seconds):
                if seconds is None or seconds > 60:
                    return True
                self.now += timedelta(seconds=max(seconds, 0.05))
                self._time_passes()
            case RecordFact(fact, detail):
                self.session, _ = self.session.after(fact, self.now, detail)
                if fact in {Fact.CONTAINER_LOST, Fact.HIBERNATED}:
                    self.world = replace(self.world, attached=False)
            case RequestEnd(reason):
                self.session = self.session.ending(self.now, reason)
            case Warn():
                self.session = replace(self.session, warned_at=self.now)
            case Act():
                self._act(step)
        return False

    def _time_passes(self) -> None:
        runner, sandbox = self.world.runner, self.world.sandbox
        if runner is None:
            if sandbox is not None and sandbox.state is SandboxState.RUNNING:
                fails = self.world.probes_failed + 1
                self.world = replace(self.world, probes_failed=fails)
            return
        if runner.phase is RunnerPhase.STARTING:
            runner = replace(runner, phase=RunnerPhase.READY)
        if runner.working:
            runner = replace(runner, working=False)
            if self.session.status is SessionStatus.ACTIVE:
                waited = Detail(waiting_for=WaitingFor.PROMPT)
                self.session, _ = self.session.after(Fact.STARTED_WAITING, self.now, waited)
        if self.world.attached:
            self.session = replace(self.session, output_seq=max(runner.seq, self.session.output_seq))
        self.world = replace(self.world, runner=runner)

    def _act(self, act: Act) -> None:
        world, sandbox, runner = self.world, self.world.sandbox, self.world.runner
        generation = self.session.generation
        dormant = Runner(phase=RunnerPhase.DORMANT, generation=0, seq=5)
        match act:
            case Act.START:
                world = replace(
                    world, sandbox=Sandbox(generation, SandboxState.RUNNING, "new"), runner=dormant, probes_failed=0
                )
            case Act.INIT:
                assert runner is not None
                world = replace(world, runner=replace(runner, phase=RunnerPhase.STARTING, generation=generation))
            case Act.ATTACH:
                world = replace(world, attached=True)
            case Act.PUBLISH:
                world = replace(world, route=Route.RUNNER)
            case Act.PUBLISH_TO_MANAGER:
                world = replace(world, route=Route.MANAGER)
            case Act.WITHDRAW:
                world = replace(world, route=Route.ABSENT)
            case Act.DRAIN | Act.UNDRAIN:
                assert runner is not None
                world = replace(world, runner=replace(runner, quiet=act is Act.DRAIN))
            case Act.PAUSE:
                assert sandbox is not None
                world = replace(world, sandbox=replace(sandbox, state=SandboxState.PAUSED), runner=None)
            case Act.UNPAUSE:
                assert sandbox is not None
                ready = Runner(phase=RunnerPhase.READY, generation=generation, seq=5)
                world = replace(world, sandbox=replace(sandbox, state=SandboxState.RUNNING), runner=ready)
            case Act.STOP:
                assert runner is not None
                world = replace(world, runner=replace(runner, phase=RunnerPhase.ENDED, seq=7, exit_code=0))
            case Act.REMOVE:
                world = replace(world, sandbox=None, runner=None, attached=False)
        self.world = world


def make_world(
    sandbox: SandboxState | None, old: bool, phase: RunnerPhase | None, route: Route, attached: bool, working: bool
) -> World:
    generation = 1 if old else 2
    return World(
        sandbox=Sandbox(generation, sandbox, "c", exit_code=137 if sandbox is SandboxState.EXITED else None)
        if sandbox
        else None,
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
            assert world.sandbox is None, (parts, history)
            assert world.route is Route.ABSENT, (parts, history)
        elif session.presence is Presence.AWAKE:
            assert world.route is Route.RUNNER, (parts, history)
            assert world.attached, (parts, history)
            assert world.sandbox is not None, (parts, history)
            assert world.sandbox.generation == session.generation, (parts, history)
        else:
            assert world.route is Route.MANAGER, (parts, history)
            expected = SandboxState.PAUSED if session.presence is Presence.PAUSED else None
            assert (world.sandbox.state if world.sandbox else None) is expected, (parts, history)
