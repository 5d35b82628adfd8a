"""Decides the next step of a session; nothing else does.

The input is the current record and world, not an event about them. So a decision may run twice, late, or on another
manager after a crash between any two steps.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from jelmore.session.acts import Act, HandOver, RecordFact, Step, Wait
from jelmore.session.pending_inputs import due
from jelmore.session.record import Detail, Failure, Session
from jelmore.session.states import ContainerPhase, Fact, Presence, SessionStatus, Wanted
from jelmore.session.timers import idle_step, seconds_between
from jelmore.session.world import AgentAhead, Route, Runner, RunnerPhase, Sandbox, SandboxState, World


@dataclass(frozen=True, slots=True)
class Policy:
    """The deployment's deadlines (seconds) and tolerances (counts)."""

    start_timeout_s: float = 60
    stop_timeout_s: float = 20
    drain_timeout_s: float = 10  # half of it for the relay, half for reading the journal from the volume
    probes_tolerated: int = 3
    restarts_allowed: int = 3
    restart_window_s: float = 600
    member_timeout_s: float = 5  # for the runner of a sandbox from the warm pool, which is up, to answer
    restart_backoff_s: float = 0.5  # short at first, as most losses are single; doubled for each further restart

    @property
    def salvage_timeout_s(self) -> float:
        """Return how many seconds one reading of a journal from its volume may take."""
        return self.drain_timeout_s / 2

    @property
    def orderly_end_s(self) -> float:
        """Return how many seconds an end may wait for its runner; the rest of the deadline is for the journal."""
        return self.stop_timeout_s + self.drain_timeout_s / 2


SOON_S: Final = 0.05
SOON: Final = Wait(SOON_S)
"""The pause between observations of something that changes within moments but does not report it."""

STARTING: Final = Wait(0.1)
STARTING_WARM: Final = Wait(0.02)  # its agent is connected already

BACKGROUND_S: Final = 10.0
BACKGROUND: Final = Wait(BACKGROUND_S)
"""The pause between observations of a session that background tasks keep awake: their end is not reported."""

BEHIND_S: Final = 1.0
"""The pause between observations of a session whose record is behind its runner: the missing output may be activity."""


def next_step(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    """Return the next step. It changes the world or the record, never both."""
    step = _decide(session, world, now, policy)
    if isinstance(step, Act) and session.status is SessionStatus.INITIALIZING and session.wanted is Wanted.RUNNING:
        # The start deadline covers every act, whichever port it uses, not only the engine's.
        return _too_late(session, world, now, policy, f"the step `{step}` did not succeed") or step
    return step


def _decide(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    if session.ended or session.wanted is Wanted.ENDED:
        return _wind_down(session, world, now, policy)
    if session.presence is Presence.HIBERNATED:
        return _hibernate(session, world, now, policy)
    sandbox = world.sandbox
    if sandbox is None:
        return _start(session, world, now, policy)
    if sandbox.generation != session.generation:
        return Act.REMOVE
    match sandbox.state:
        case SandboxState.CREATED:
            return _too_late_to_start(session, world, now, policy, "the container could not be started") or Act.START
        case SandboxState.EXITED:
            return _died(session, sandbox, now, policy)
        case SandboxState.PAUSED:
            return _paused(session, world, sandbox, now)
        case SandboxState.RUNNING:
            return _running(session, world, now, policy)


def _wind_down(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    if world.route is not Route.ABSENT:
        return Act.WITHDRAW  # stop the traffic before the runner that serves it
    sandbox, runner = world.sandbox, world.runner
    late = _waited_s(session, world, now) > policy.orderly_end_s
    if sandbox is not None:
        if sandbox.state is SandboxState.PAUSED and not late:
            return Act.UNPAUSE
        if sandbox.state is SandboxState.RUNNING and runner is not None and not late:
            return _drain(session, world, runner)
        return SOON if _may_answer(session, world, now, policy) else Act.REMOVE
    if session.ended:
        return Wait()
    return RecordFact(Fact.REMOVED, Detail(reason=session.end_reason))


def _may_answer(session: Session, world: World, now: datetime, policy: Policy) -> bool:
    """Return whether a silent runner may still answer: one failed health check must not kill an agent."""
    sandbox = world.sandbox
    listening = (
        sandbox is not None and sandbox.state is SandboxState.RUNNING and sandbox.generation == session.generation
    )
    patient = _waited_s(session, world, now) <= policy.stop_timeout_s
    return listening and world.runner is None and world.probes_failed == 0 and patient


def _drain(session: Session, world: World, runner: Runner) -> Step:
    """End the agent, then wait until its last output is stored."""
    match runner.phase:
        case RunnerPhase.DORMANT:
            return Act.REMOVE
        case RunnerPhase.STARTING | RunnerPhase.READY:
            return Act.STOP
        case RunnerPhase.ENDED:
            if runner.seq <= session.output_seq:
                return Act.REMOVE
            return SOON if world.attached else Act.ATTACH


def _hibernate(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    if world.route is not Route.MANAGER:
        return Act.PUBLISH_TO_MANAGER
    if world.sandbox is not None:
        late = _waited_s(session, world, now) > policy.orderly_end_s
        if world.sandbox.state is SandboxState.PAUSED and not late:
            return Act.UNPAUSE  # so that Claude Code can close its transcript
        if world.sandbox.state is SandboxState.RUNNING and world.runner is not None and not late:
            return _drain(session, world, world.runner)
        return SOON if _may_answer(session, world, now, policy) else Act.REMOVE
    return idle_step(session, now)


def _start(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    if session.container_phase is ContainerPhase.SERVING or session.starts_in_member:
        return _died(session, None, now, policy)
    if session.status is not SessionStatus.INITIALIZING and world.route is not Route.MANAGER:
        return Act.PUBLISH_TO_MANAGER  # during the start the manager serves clients: a stream, not a 404
    if late := _too_late(session, world, now, policy, "the container could not be started"):
        return late
    if session.restarted_at is not None:
        pause_s = min(policy.restart_backoff_s * 2 ** min(session.restarts - 1, 16), policy.start_timeout_s / 2)
        pause = pause_s - seconds_between(session.restarted_at, now)
        if session.restarts and pause > 0:
            return Wait(pause)
    return Act.START


def _died(session: Session, sandbox: Sandbox | None, now: datetime, policy: Policy, what: str | None = None) -> Step:
    """Return the step after the container of a live session was lost: a replacement or a failure."""
    starting = session.status is SessionStatus.INITIALIZING
    what = what or ("the container is gone" if sandbox is None else f"the container exited with {sandbox.exit_code}")
    if session.starts_in_member:  # nothing of the session ran in it: start as without a warm pool
        return RecordFact(Fact.CONTAINER_LOST, Detail(reason="warm_sandbox_lost"))
    failure = Failure(
        phase="starting" if starting else "running",
        message=f"{what}, out of memory" if sandbox is not None and sandbox.oom else what,
        exit_code=None if sandbox is None else sandbox.exit_code,
        oom=sandbox is not None and sandbox.oom,
    )
    restarts = _restarts(session, now, policy) + 1
    if starting or restarts > policy.restarts_allowed:
        return RecordFact(
            Fact.FAILED, Detail(reason="start_failed" if starting else "restarts_exhausted", failure=failure)
        )
    return RecordFact(Fact.CONTAINER_LOST, Detail(reason=failure.message, failure=failure, restarts=restarts))


def _restarts(session: Session, now: datetime, policy: Policy) -> int:
    """Return the number of restarts that count: 0 after a whole window without a restart."""
    if session.restarted_at is None or seconds_between(session.restarted_at, now) > policy.restart_window_s:
        return 0
    return session.restarts


def _paused(session: Session, world: World, sandbox: Sandbox, now: datetime) -> Step:
    if session.presence is Presence.AWAKE:
        return Act.UNPAUSE
    if world.route is not Route.MANAGER:
        return Act.PUBLISH_TO_MANAGER
    if session.container_phase is ContainerPhase.STARTING:  # paused from outside; resuming continues the start
        return RecordFact(Fact.CONTAINER_REPLACED, Detail(container_id=sandbox.id))
    return idle_step(session, now)


def _running(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    runner = world.runner
    if runner is None:
        return _unreachable(session, world, now, policy)
    if runner.phase is RunnerPhase.DORMANT:
        return _too_late_to_start(session, world, now, policy, "the runner did not begin") or Act.INIT
    if not world.attached and not (runner.phase is RunnerPhase.ENDED and runner.seq <= session.output_seq):
        return Act.ATTACH  # not for an ended runner whose output is all stored: its relay would end at once
    if runner.phase is not RunnerPhase.ENDED and (step := _delivery(session, world, now, policy)) is not None:
        return step  # before its URL leads to it, so that nothing newer can overtake them
    match runner.phase:
        case RunnerPhase.STARTING:
            return _too_late(session, world, now, policy, "Claude Code did not become ready") or (
                STARTING_WARM if runner.agent_ahead in {AgentAhead.CONNECTED, AgentAhead.USED} else STARTING
            )
        case RunnerPhase.ENDED:
            return _agent_ended(session, world, runner, now, policy)
        case RunnerPhase.READY:
            return _ready(session, world, runner, now)


def _delivery(session: Session, world: World, now: datetime, policy: Policy) -> Step | None:
    """Return the step that gives a runner, which may still start its agent, the pending inputs; None without any."""
    inputs = due(session.pending_inputs)
    if not inputs or world.delivered:
        return None
    if session.container_phase is ContainerPhase.SERVING:  # no start deadline ends a runner that takes none
        lifetime = idle_step(session, now, recheck_s=BEHIND_S)
        if not isinstance(lifetime, Wait):
            return lifetime
    late = _too_late_to_start(session, world, now, policy, "the runner took no input")
    return late or (Act.DELIVER if all(each.handed_over for each in inputs) else HandOver())


def _unreachable(session: Session, world: World, now: datetime, policy: Policy) -> Step:
    if session.container_phase is ContainerPhase.STARTING:
        if session.starts_in_member and _waited_s(session, world, now) > policy.member_timeout_s:
            return _died(session, world.sandbox, now, policy)
        waited_s = _waited_s(session, world, now)  # a runner listens about 0.2 s after its start: check often at first
        pause = Wait(min(max(waited_s / 10, SOON_S), 1.0))
        return _too_late(session, world, now, policy, "the runner did not answer") or pause
    if session.presence is Presence.PAUSED:  # unpaused from outside; sessions recorded as paused are not probed
        return Act.PUBLISH_TO_MANAGER if world.route is not Route.MANAGER else Act.PAUSE
    if world.probes_failed < policy.probes_tolerated:
        return Wait(1)
    return _died(session, None, now, policy, what="the runner does not answer")


def _agent_ended(session: Session, world: World, runner: Runner, now: datetime, policy: Policy) -> Step:
    if runner.seq > session.output_seq:
        return SOON  # store its last output first
    if runner.stopping:  # not requested through Jelmore: `docker stop`, or the engine shuts down
        return _died(session, world.sandbox, now, policy, what="the container was stopped from outside")
    if runner.exit_code == 0:
        return RecordFact(Fact.EXITED, Detail(reason="exited"))
    starting = session.status is SessionStatus.INITIALIZING
    failure = Failure(
        phase="starting" if starting else "running",
        message=runner.error or f"Claude Code exited with {runner.exit_code}",
        exit_code=runner.exit_code,
        oom=world.sandbox is not None and world.sandbox.oom,
    )
    return RecordFact(Fact.FAILED, Detail(reason="start_failed" if starting else "agent_failed", failure=failure))


def _ready(session: Session, world: World, runner: Runner, now: datetime) -> Step:
    container_id = world.sandbox.id if world.sandbox else None
    seen = Detail(
        container_id=container_id,
        agent_pid=runner.agent_pid,
        waiting_for=runner.waiting_for,
        connected=session.starts_in_member and runner.agent_ahead is AgentAhead.USED,
    )
    starting = session.container_phase is ContainerPhase.STARTING
    if session.presence is Presence.PAUSED:
        return RecordFact(Fact.CONTAINER_REPLACED, seen) if starting else _pause(session, world, runner)
    if runner.draining:
        return Act.UNDRAIN
    if world.route is not Route.RUNNER:
        return Act.PUBLISH
    if session.status is SessionStatus.INITIALIZING:
        return RecordFact(Fact.READY_BUSY if runner.working else Fact.READY, seen)
    if starting:
        return RecordFact(Fact.CONTAINER_REPLACED, seen)
    if runner.working or runner.seq > session.output_seq:
        return idle_step(session, now, recheck_s=BEHIND_S)
    return idle_step(session, now, recheck_s=BACKGROUND_S if runner.background else None)


def _pause(session: Session, world: World, runner: Runner) -> Step:
    """Pause an idle session. Route new clients to the manager first, so that none connects to a paused process."""
    if runner.working:
        return Wait(1)  # its output will arrive and set the record to awake
    if runner.background:
        return BACKGROUND
    if world.route is not Route.MANAGER:
        return Act.PUBLISH_TO_MANAGER
    if not runner.draining:
        return Act.DRAIN
    return SOON if runner.seq > session.output_seq else Act.PAUSE


def _too_late_to_start(
    session: Session, world: World, now: datetime, policy: Policy, message: str
) -> RecordFact | None:
    """Return the failure of a start that takes too long. A container restarted from outside has no such deadline."""
    starting = session.container_phase is ContainerPhase.STARTING
    return _too_late(session, world, now, policy, message) if starting else None


def _too_late(session: Session, world: World, now: datetime, policy: Policy, message: str) -> RecordFact | None:
    if _waited_s(session, world, now) <= policy.start_timeout_s:
        return None
    failure = Failure(phase="starting", message=f"{message} within {policy.start_timeout_s:g} s")
    return RecordFact(Fact.FAILED, Detail(reason="start_timeout", failure=failure))


def end_left_s(session: Session, watched_since: datetime, now: datetime, policy: Policy) -> float | None:
    """Return how many seconds a requested end has left; None when no end is requested."""
    if session.ended or session.wanted is not Wanted.ENDED:
        return None
    return policy.stop_timeout_s + policy.drain_timeout_s - seconds_between(max(session.since, watched_since), now)


def _waited_s(session: Session, world: World, now: datetime) -> float:
    """Return how many seconds the present state has lasted while a manager could act on it."""
    return seconds_between(max(session.since, world.watched_since or session.since), now)
