"""Single decisions: pausing, starting, restarting and the end, each with its patience."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore.session.acts import Act, RecordFact, Step, Wait
from jelmore.session.record import Detail, Session
from jelmore.session.states import Fact, Presence, SessionStatus, Wanted
from jelmore.session.steps import Policy
from jelmore.session.world import Route, Runner, RunnerPhase, Sandbox, SandboxState, World
from tests.support.records import MOMENT, new_session
from tests.unit.session.deciding import FROZEN, GONE, POLICY, READY, RUNNING, SERVED, fact, idle, step, waiting

# --- freezing


def test_freezing_leads_clients_away_first_and_leaves_no_output_behind() -> None:
    session = idle(Presence.PAUSED)
    assert step(session, SERVED, 0) is Act.PUBLISH_TO_MANAGER
    led = replace(SERVED, route=Route.MANAGER)
    assert step(session, led, 0) is Act.DRAIN
    behind = replace(led, runner=replace(READY, draining=True, seq=6))
    assert isinstance(step(session, behind, 0), Wait)
    assert step(session, replace(led, runner=replace(READY, draining=True)), 0) is Act.PAUSE
    assert isinstance(step(session, replace(led, runner=replace(READY, working=True)), 0), Wait)


def test_waking_undoes_it_in_order() -> None:
    session = idle(Presence.AWAKE)
    assert step(session, FROZEN, 0) is Act.UNPAUSE
    unpaused = World(RUNNING, replace(READY, draining=True), Route.MANAGER, attached=True)
    assert step(session, unpaused, 0) is Act.UNDRAIN
    assert step(session, replace(unpaused, runner=READY), 0) is Act.PUBLISH


# --- starting


def test_a_start_has_a_deadline_wherever_it_hangs() -> None:
    starting = replace(waiting(), status=SessionStatus.INITIALIZING, container_id=None)
    silent = World(RUNNING)
    slow = World(RUNNING, Runner(RunnerPhase.STARTING, 1, 0), attached=True)
    for world in (World(), silent, slow):
        early, late = step(starting, world, 59), step(starting, world, 61)
        assert early is Act.START or isinstance(early, Wait)
        assert isinstance(late, RecordFact)
        assert (late.fact, late.detail.reason) == (Fact.FAILED, "start_timeout")


def test_a_death_while_starting_is_not_tried_again() -> None:
    starting = replace(waiting(), status=SessionStatus.INITIALIZING, container_id=None)
    made = step(starting, World(Sandbox(1, SandboxState.EXITED, "c", exit_code=137, oom=True)), 1)
    assert isinstance(made, RecordFact)
    assert made.fact is Fact.FAILED
    assert made.detail.failure is not None
    assert (made.detail.failure.phase, made.detail.failure.oom) == ("starting", True)


@pytest.mark.parametrize(
    ("world", "act"),
    [
        (World(RUNNING, READY, Route.ABSENT, attached=True), Act.PUBLISH),
        (World(RUNNING, replace(READY, draining=True), Route.ABSENT, attached=True), Act.UNDRAIN),
        (World(RUNNING, READY, Route.RUNNER), Act.ATTACH),
        (World(replace(RUNNING, state=SandboxState.PAUSED)), Act.UNPAUSE),
        (World(replace(RUNNING, generation=7)), Act.REMOVE),
    ],
    ids=lambda value: value.value if isinstance(value, Act) else "",
)
def test_a_step_of_a_start_that_never_succeeds_fails_it_on_time(world: World, act: Act) -> None:
    starting = new_session(output_seq=5)
    assert step(starting, world, POLICY.start_timeout_s) is act
    made = step(starting, world, POLICY.start_timeout_s + 1)
    assert isinstance(made, RecordFact)
    assert (made.fact, made.detail.reason) == (Fact.FAILED, "start_timeout")


@pytest.mark.parametrize("said", [Fact.STARTED_WORKING, Fact.STARTED_WAITING])
def test_what_a_runner_reports_puts_off_no_deadline(said: Fact) -> None:
    status = SessionStatus.WAITING_INPUT if said is Fact.STARTED_WORKING else SessionStatus.ACTIVE
    far = MOMENT + timedelta(days=1000)
    for session in (waiting(status=status, container_id=None), ending(status=status)):
        changed, _ = session.after(said, far)
        assert changed.status is not session.status
        assert changed.since == session.since


# --- restarting


def dead(session: Session, after_s: float, policy: Policy = POLICY) -> Step:
    return step(session, World(Sandbox(1, SandboxState.EXITED, "c", exit_code=1), None, Route.RUNNER), after_s, policy)


def test_restarts_within_the_window_are_bounded() -> None:
    for restarts in range(3):
        session = waiting(restarts=restarts, restarted_at=MOMENT)
        made = dead(session, 10)
        assert isinstance(made, RecordFact)
        assert (made.fact, made.detail.restarts) == (Fact.CONTAINER_LOST, restarts + 1)
    made = dead(waiting(restarts=3, restarted_at=MOMENT), 10)
    assert isinstance(made, RecordFact)
    assert (made.fact, made.detail.reason) == (Fact.FAILED, "restarts_exhausted")


def test_a_healthy_time_forgets_restarts() -> None:
    made = dead(waiting(restarts=3, restarted_at=MOMENT), 601)
    assert isinstance(made, RecordFact)
    assert (made.fact, made.detail.restarts) == (Fact.CONTAINER_LOST, 1)


def test_no_restart_where_none_is_allowed() -> None:
    assert fact(dead(waiting(), 1, replace(POLICY, restarts_allowed=0))) is Fact.FAILED


@given(st.integers(1, 50))
def test_the_pause_grows_but_a_start_always_comes_in_time(restarts: int) -> None:
    policy = replace(POLICY, restarts_allowed=100)
    session = waiting(restarts=restarts, restarted_at=MOMENT, container_id=None)
    made = step(session, GONE, 0, policy)
    assert isinstance(made, Wait)
    assert made.seconds is not None
    assert made.seconds == min(2.0 ** (restarts - 2), policy.start_timeout_s / 2)
    assert step(session, GONE, made.seconds, policy) is Act.START


def test_a_silent_runner_is_lost_only_after_several_probes() -> None:
    for failed in range(3):
        assert step(waiting(), World(RUNNING, None, Route.RUNNER, probes_failed=failed), 10) == Wait(1)
    assert fact(step(waiting(), World(RUNNING, None, Route.RUNNER, probes_failed=3), 10)) is Fact.CONTAINER_LOST


def test_every_part_of_a_start_has_the_same_deadline() -> None:
    starting = new_session()
    dormant = World(RUNNING, Runner(RunnerPhase.DORMANT, 1, 0))
    for world, act in ((World(Sandbox(1, SandboxState.CREATED, "c")), Act.START), (dormant, Act.INIT)):
        assert step(starting, world, 60) is act
        made = step(starting, world, 61)
        assert isinstance(made, RecordFact)
        assert (made.fact, made.detail.reason) == (Fact.FAILED, "start_timeout")
    assert step(waiting(), dormant, 61) is Act.INIT, "somebody restarted the container of a session that had started"


def test_a_deadline_does_not_pass_while_nobody_watches() -> None:
    back = MOMENT + timedelta(hours=8)
    lost = waiting(container_id=None)
    assert step(lost, replace(GONE, watched_since=back), 8 * 3600 + 60) is Act.START
    assert fact(step(lost, replace(GONE, watched_since=back), 8 * 3600 + 61)) is Fact.FAILED
    stopping = replace(waiting(), wanted=Wanted.ENDED)
    drained = World(RUNNING, READY, Route.ABSENT, attached=True, watched_since=back)
    assert step(stopping, drained, 8 * 3600 + 10) is Act.STOP, "it may still end in order"


def test_a_paused_session_that_is_replaced_is_paused_again_and_may_be_lost_again() -> None:
    replaced = idle(Presence.PAUSED, container_id=None)
    led = replace(SERVED, route=Route.MANAGER)
    assert fact(step(replaced, led, 1)) is Fact.CONTAINER_REPLACED
    changed, _ = replaced.after(Fact.CONTAINER_REPLACED, MOMENT + timedelta(seconds=9), Detail(container_id="new"))
    assert (changed.container_id, changed.last_activity_at) == ("new", MOMENT), "being replaced is no activity"
    assert fact(step(changed, GONE, 5000)) is Fact.CONTAINER_LOST


def test_a_paused_session_that_was_unpaused_from_outside_is_paused_again_answered_or_not() -> None:
    session, silent = idle(Presence.PAUSED), World(RUNNING, None, Route.MANAGER)
    assert step(session, silent, 5000) is Act.PAUSE
    assert step(session, replace(silent, route=Route.RUNNER), 5000) is Act.PUBLISH_TO_MANAGER


# --- the agent's end


@pytest.mark.parametrize("exit_code", [0, 143])
def test_an_agent_that_a_signal_ended_is_no_end_of_the_session(exit_code: int) -> None:
    stopped = Runner(RunnerPhase.ENDED, 1, 5, stopping=True, exit_code=exit_code)
    made = step(waiting(), World(RUNNING, stopped, Route.RUNNER, attached=True), 10)
    assert isinstance(made, RecordFact)
    assert (made.fact, made.detail.restarts) == (Fact.CONTAINER_LOST, 1)


@pytest.mark.parametrize(("exit_code", "expected"), [(0, Fact.EXITED), (1, Fact.FAILED), (None, Fact.FAILED)])
def test_the_agents_end_is_reported_after_its_last_words(exit_code: int | None, expected: Fact) -> None:
    ended = Runner(RunnerPhase.ENDED, 1, 6, exit_code=exit_code)
    behind = World(RUNNING, ended, Route.RUNNER, attached=True)
    assert isinstance(step(waiting(), behind, 0), Wait)
    assert step(waiting(), replace(behind, attached=False), 0) is Act.ATTACH
    read = replace(behind, runner=replace(ended, seq=5))
    assert fact(step(waiting(), read, 0)) is expected
    assert fact(step(waiting(), replace(read, attached=False), 0)) is expected, "its relay has ended with it"


# --- the end


def ending(**changes: Any) -> Session:
    return waiting(wanted=Wanted.ENDED, end_reason="deleted", **changes)


def test_the_way_down_is_route_agent_last_words_container_record() -> None:
    session = ending()
    assert step(session, SERVED, 0) is Act.WITHDRAW
    off = replace(SERVED, route=Route.ABSENT)
    assert step(session, off, 0) is Act.STOP
    ended = Runner(RunnerPhase.ENDED, 1, 7, exit_code=0)
    assert isinstance(step(session, replace(off, runner=ended), 0), Wait)
    assert step(session, replace(off, runner=ended, attached=False), 0) is Act.ATTACH
    assert step(session, replace(off, runner=replace(ended, seq=5)), 0) is Act.REMOVE
    made = step(session, World(), 0)
    assert isinstance(made, RecordFact)
    assert (made.fact, made.detail.reason) == (Fact.REMOVED, "deleted")


def test_one_unanswered_question_does_not_kill_an_agent_but_patience_ends() -> None:
    silent = World(RUNNING)
    assert isinstance(step(ending(), silent, 1), Wait)
    assert step(ending(), replace(silent, probes_failed=1), 1) is Act.REMOVE
    assert step(ending(), silent, POLICY.stop_timeout_s + 1) is Act.REMOVE
    assert step(ending(generation=2), silent, 1) is Act.REMOVE, "nobody asks a runner of another generation"


def test_draining_has_a_deadline() -> None:
    late_s = POLICY.stop_timeout_s + POLICY.drain_timeout_s + 1
    for world in (World(RUNNING, READY), World(replace(RUNNING, state=SandboxState.PAUSED))):
        assert step(ending(), world, late_s) is Act.REMOVE
    assert step(ending(), World(replace(RUNNING, state=SandboxState.PAUSED)), 1) is Act.UNPAUSE


def test_a_container_of_another_generation_never_serves() -> None:
    assert step(waiting(generation=2), SERVED, 0) is Act.REMOVE
