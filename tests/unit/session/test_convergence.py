"""From every pair of record and world, steps must settle: no illegal move, no endless work, nothing left over.

A session that is wanted ends live in an obedient world, also when its container is taken away again later.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from jelmore.session.acts import Act, HandOver, RecordFact, RequestEnd, Step, Wait, Warn
from jelmore.session.pending_inputs import PendingInput, handed_over
from jelmore.session.record import Detail, Session, Spec, Timing
from jelmore.session.states import (
    ENDED,
    ContainerPhase,
    Fact,
    Presence,
    SessionStatus,
    WaitingFor,
    Wanted,
)
from jelmore.session.steps import Policy, next_step
from jelmore.session.warm_start import WarmStart
from jelmore.session.world import Route, Runner, RunnerPhase, Sandbox, SandboxState, World

Decide = Callable[[Session, World, datetime, Policy], Step]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = Policy()
STEPS = 200
SILENT_LOOKS = 3

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
        spec=Spec(timing=Timing(idle_after_s=0, hibernate_after_s=0, timeout_s=0)),
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
    """A world that obeys: every act does at once what it should, and a runner advances by itself while waited for.

    The runner of a container that starts is dormant after a few looks; one that served and is silent stays silent.
    """

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
            case HandOver():
                self.session = replace(self.session, pending_inputs=handed_over(self.session.pending_inputs))
            case Warn():
                self.session = replace(self.session, warned_at=self.now)
            case Act():
                self._act(step)
        return False

    def _time_passes(self) -> None:
        self.world = replace(self.world, delivered=False)
        runner, sandbox = self.world.runner, self.world.sandbox
        if runner is None:
            if sandbox is not None and sandbox.state is SandboxState.RUNNING:
                fails = self.world.probes_failed + 1
                self.world = replace(self.world, probes_failed=fails)
                if self.session.container_phase is ContainerPhase.STARTING and fails == SILENT_LOOKS:
                    self.world = replace(self.world, runner=Runner(RunnerPhase.DORMANT, 0, seq=5))
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
            case Act.DELIVER:
                assert world.attached
                assert runner is not None
                world = replace(world, delivered=True)
                self.session = replace(self.session, pending_inputs=())  # as the output that records them is stored
            case Act.PUBLISH:
                world = replace(world, route=Route.RUNNER)
            case Act.PUBLISH_TO_MANAGER:
                world = replace(world, route=Route.MANAGER)
            case Act.WITHDRAW:
                world = replace(world, route=Route.ABSENT)
            case Act.DRAIN | Act.UNDRAIN:
                assert runner is not None
                world = replace(world, runner=replace(runner, draining=act is Act.DRAIN))
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


def settle(simulation: Simulation, decide: Decide, because: object) -> None:
    """Take steps until there are none left to take, and assert that nothing is left over."""
    history: list[Step] = []
    for _ in range(STEPS):
        step = decide(simulation.session, simulation.world, simulation.now, POLICY)
        history.append(step)
        if simulation.take(step):
            break
    else:
        pytest.fail(f"does not settle from {because}: {history[-8:]}")
    session, world = simulation.session, simulation.world
    if session.ended:
        assert world.sandbox is None, (because, history)
        assert world.route is Route.ABSENT, (because, history)
    elif session.presence is Presence.AWAKE:
        assert world.route is Route.RUNNER, (because, history)
        assert world.attached, (because, history)
        assert world.sandbox is not None, (because, history)
        assert world.sandbox.generation == session.generation, (because, history)
        assert session.container_phase is ContainerPhase.SERVING, (because, history)
        assert not session.pending_inputs, (because, history)
    else:
        assert world.route is Route.MANAGER, (because, history)
        paused = session.presence is Presence.PAUSED
        expected = SandboxState.PAUSED if paused else None
        assert (world.sandbox.state if world.sandbox else None) is expected, (because, history)
        phase = ContainerPhase.SERVING if paused else ContainerPhase.NONE
        assert session.container_phase is phase, (because, history)


def may_fail(session: Session, world: World) -> bool:
    """Return whether the session has a reason to end: its agent has, or its first container has died."""
    if session.presence is Presence.HIBERNATED or world.sandbox is None or world.sandbox.generation == 1:
        return False
    ended = world.runner is not None and world.runner.phase is RunnerPhase.ENDED
    return ended or (session.status is SessionStatus.INITIALIZING and world.sandbox.state is SandboxState.EXITED)


def walk(status: SessionStatus, wanted: Wanted, presence: Presence, started: bool, decide: Decide) -> None:
    """Settle from every world, then again after each disturbance, twice, a day apart."""
    for parts in WORLDS:
        simulation = Simulation(make_session(status, wanted, presence, started), make_world(*parts))
        fallible = may_fail(simulation.session, simulation.world)
        settle(simulation, decide, parts)
        if wanted is Wanted.ENDED or status in ENDED:
            assert simulation.session.ended, parts
            continue
        assert fallible or not simulation.session.ended, (parts, simulation.session.failure)
        if simulation.session.ended:
            continue
        for disturb in DISTURBANCES:
            again = Simulation(simulation.session, simulation.world)
            for day in (1, 2):
                again.now = NOW + timedelta(days=day)
                again.world = disturb(again.world)
                settle(again, decide, (parts, disturb.__name__, day))
                assert not again.session.ended, (parts, disturb.__name__, day, again.session.failure)


@pytest.mark.parametrize("wanted", Wanted)
def test_a_session_that_claimed_a_member_ends_live_whatever_became_of_the_member(wanted: Wanted) -> None:
    base = make_session(SessionStatus.INITIALIZING, wanted, Presence.AWAKE, started=False)
    for sandbox, _, phase, _, _, _ in WORLDS:
        world = make_world(sandbox, True, None, Route.ABSENT, False, False)
        runner = Runner(phase=phase, generation=1, seq=0, stopping=True) if phase is not None else None
        simulation = Simulation(
            replace(base, generation=1, output_seq=0, warm_start=WarmStart.RUNNER), replace(world, runner=runner)
        )
        settle(simulation, next_step, (sandbox, phase))
        session = simulation.session
        if wanted is Wanted.ENDED:
            assert session.ended
            continue
        assert not session.ended, (sandbox, phase, session.failure)
        served = sandbox in {SandboxState.CREATED, SandboxState.RUNNING, SandboxState.PAUSED}
        kept = served and phase is not RunnerPhase.ENDED
        assert session.warm_start is (WarmStart.RUNNER if kept else WarmStart.LOST), (sandbox, phase)
        assert session.generation == session.first_generation == (1 if kept else 2)


@pytest.mark.parametrize(
    ("status", "started"), [(one, at) for one in sorted(set(SessionStatus) - ENDED) for at in (True, False)]
)
def test_every_world_ends_with_the_pending_inputs_in_the_runner(status: SessionStatus, started: bool) -> None:
    pending = tuple(PendingInput(name, "go", "key", NOW.isoformat(), 5) for name in ("one", "two"))
    session = replace(make_session(status, Wanted.RUNNING, Presence.AWAKE, started), pending_inputs=pending)
    for parts in WORLDS:
        simulation = Simulation(session, make_world(*parts))
        settle(simulation, next_step, parts)
        kept = pending if simulation.session.ended else ()
        assert [each.id for each in simulation.session.pending_inputs] == [each.id for each in kept], parts


def removed(world: World) -> World:
    return replace(world, sandbox=None, runner=None, attached=False)


def killed(world: World) -> World:
    if world.sandbox is None:
        return world
    dead = replace(world.sandbox, state=SandboxState.EXITED, exit_code=137)
    return replace(world, sandbox=dead, runner=None, attached=False)


def unpaused_and_silent(world: World) -> World:
    if world.sandbox is None or world.sandbox.state is not SandboxState.PAUSED:
        return world
    return replace(world, sandbox=replace(world.sandbox, state=SandboxState.RUNNING), runner=None, probes_failed=0)


DISTURBANCES: list[Callable[[World], World]] = [removed, killed, unpaused_and_silent]


@pytest.mark.parametrize(("status", "wanted", "presence", "started"), RECORDS)
def test_every_record_settles_in_every_world_and_a_wanted_session_ends_live(
    status: SessionStatus, wanted: Wanted, presence: Presence, started: bool
) -> None:
    walk(status, wanted, presence, started, next_step)


def fails_everything(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    if session.ended or session.wanted is Wanted.ENDED:
        return next_step(session, world, now, policy)
    return RecordFact(Fact.FAILED, Detail(reason="sabotage"))


def fails_the_second_loss(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    step = next_step(session, world, now, policy)
    lost = isinstance(step, RecordFact) and step.fact is Fact.CONTAINER_LOST
    return RecordFact(Fact.FAILED, Detail(reason="sabotage")) if lost and session.restarts else step


@pytest.mark.parametrize("decide", [fails_everything, fails_the_second_loss])
def test_the_walk_notices_a_decision_that_gives_wanted_sessions_up(decide: Decide) -> None:
    with pytest.raises(AssertionError):
        walk(SessionStatus.IDLE, Wanted.RUNNING, Presence.PAUSED, True, decide)
