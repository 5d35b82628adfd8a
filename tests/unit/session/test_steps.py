"""Single decisions: every timer, every patience, and who is never frozen."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore.session.acts import Act, RecordFact, RequestEnd, Step, Wait, Warn
from jelmore.session.record import Detail, Session, Spec, Timing
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor, Wanted
from jelmore.session.steps import Policy, next_step
from jelmore.session.world import Route, Runner, RunnerPhase, Sandbox, SandboxState, World
from tests.support.records import MOMENT, new_session

POLICY = Policy()
RUNNING = Sandbox(1, SandboxState.RUNNING, "c")
READY = Runner(RunnerPhase.READY, 1, 5, waiting_for=WaitingFor.PROMPT)
SERVED = World(RUNNING, READY, Route.RUNNER, attached=True)
FROZEN = World(Sandbox(1, SandboxState.PAUSED, "c"), None, Route.MANAGER)
GONE = World(None, None, Route.MANAGER)


def waiting(timing: Timing | None = None, **changes: Any) -> Session:
    """A session that waits for a prompt since MOMENT."""
    plain: dict[str, Any] = {
        "status": SessionStatus.WAITING_INPUT,
        "waiting_for": WaitingFor.PROMPT,
        "container_id": "c",
        "output_seq": 5,
        "spec": Spec(timing=timing or Timing()),
    }
    return replace(new_session(), **{**plain, **changes})


def idle(presence: Presence, timing: Timing | None = None, **changes: Any) -> Session:
    return waiting(timing, status=SessionStatus.IDLE, presence=presence, **changes)


def step(session: Session, world: World, after_s: float, policy: Policy = POLICY) -> Step:
    return next_step(session, world, MOMENT + timedelta(seconds=after_s), policy)


def fact(made: Step) -> Fact:
    assert isinstance(made, RecordFact), made
    return made.fact


# --- timers


def test_a_quiet_session_rests_on_time_and_not_before() -> None:
    timing = Timing(idle_after_s=300, timeout_s=0)
    assert step(waiting(timing), SERVED, 100) == Wait(200)
    assert fact(step(waiting(timing), SERVED, 300)) is Fact.PAUSED


@pytest.mark.parametrize("prompt", [WaitingFor.PERMISSION, WaitingFor.QUESTION])
def test_whoever_waits_for_an_answer_is_never_frozen(prompt: WaitingFor) -> None:
    timing = Timing(idle_after_s=1, hibernate_after_s=2, timeout_s=0)
    assert step(waiting(timing, waiting_for=prompt), SERVED, 10_000) == Wait(None)
    assert step(idle(Presence.PAUSED, timing, waiting_for=prompt), FROZEN, 10_000) == Wait(None)


def test_background_work_is_not_quiet() -> None:
    timing = Timing(idle_after_s=1, timeout_s=2, warn_before_s=0, lifetime_s=100)
    busy = replace(SERVED, runner=replace(READY, background=1))
    assert step(waiting(timing), busy, 50) == Wait(10)
    assert step(waiting(timing), busy, 95) == Wait(5), "its lifetime ends it all the same"
    assert step(waiting(timing), busy, 100) == RequestEnd("lifetime")
    assert step(waiting(timing), SERVED, 50) == RequestEnd("idle_timeout")
    resting = idle(Presence.PAUSED, timing)
    assert step(resting, replace(busy, route=Route.MANAGER), 50) == Wait(10)


def test_the_defaults_freeze_release_and_then_end() -> None:
    assert fact(step(waiting(), SERVED, 300)) is Fact.PAUSED
    assert fact(step(idle(Presence.PAUSED), FROZEN, 900)) is Fact.HIBERNATED
    assert step(idle(Presence.HIBERNATED, warned_at=MOMENT), GONE, 1799) == Wait(1)
    assert step(idle(Presence.HIBERNATED, warned_at=MOMENT), GONE, 1800) == RequestEnd("idle_timeout")


def test_a_working_session_has_no_timer_but_its_lifetime() -> None:
    timing = Timing(idle_after_s=1, timeout_s=2, lifetime_s=0)
    assert step(waiting(timing, status=SessionStatus.ACTIVE), SERVED, 10_000) == Wait(None)
    aged = replace(timing, lifetime_s=100)
    assert step(waiting(aged, status=SessionStatus.ACTIVE), SERVED, 40) == Wait(60)
    assert step(waiting(aged, status=SessionStatus.ACTIVE), SERVED, 100) == RequestEnd("lifetime")


def test_the_warning_comes_once_and_then_the_end() -> None:
    timing = Timing(idle_after_s=0, timeout_s=600, warn_before_s=120)
    assert step(waiting(timing), SERVED, 100) == Wait(380)
    assert step(waiting(timing), SERVED, 480) == Warn(MOMENT + timedelta(seconds=600))
    warned = waiting(timing, warned_at=MOMENT)
    assert step(warned, SERVED, 480) == Wait(120)
    assert step(warned, SERVED, 600) == RequestEnd("idle_timeout")
    assert step(waiting(replace(timing, warn_before_s=0)), SERVED, 600) == RequestEnd("idle_timeout")


def test_whoever_was_away_at_the_deadline_warns_first_and_ends_after_the_whole_notice() -> None:
    timing = Timing(idle_after_s=0, timeout_s=600, warn_before_s=120)
    for session, world in ((waiting(timing), SERVED), (idle(Presence.HIBERNATED, timing), GONE)):
        assert step(session, world, 5000) == Warn(MOMENT + timedelta(seconds=5120))
        warned = replace(session, warned_at=MOMENT + timedelta(seconds=5000))
        assert step(warned, world, 5001) == Wait(119)
        assert step(warned, world, 5120) == RequestEnd("idle_timeout")


def test_a_warning_of_an_earlier_idle_period_does_not_count() -> None:
    timing = Timing(idle_after_s=0, timeout_s=600, warn_before_s=120)
    active_again = waiting(timing, warned_at=MOMENT - timedelta(seconds=1))
    assert step(active_again, SERVED, 600) == Warn(MOMENT + timedelta(seconds=720))


def test_the_notice_is_never_longer_than_the_timeout() -> None:
    timing = Timing(idle_after_s=0, timeout_s=10, warn_before_s=120)
    assert step(waiting(timing), SERVED, 0) == Warn(MOMENT + timedelta(seconds=10))
    assert step(waiting(timing, warned_at=MOMENT), SERVED, 10) == RequestEnd("idle_timeout")


@pytest.mark.parametrize("runner", [replace(READY, working=True), replace(READY, seq=6)], ids=["works", "behind"])
def test_no_timeout_is_decided_on_a_record_that_may_be_old(runner: Runner) -> None:
    world = replace(SERVED, runner=runner)
    for timing in (Timing(timeout_s=2, warn_before_s=0), Timing(timeout_s=2), Timing(idle_after_s=1, timeout_s=0)):
        assert step(waiting(timing), world, 10_000) == Wait(1)
        assert step(idle(Presence.AWAKE, timing), world, 10_000) == Wait(1)
    aged = Timing(timeout_s=2, lifetime_s=10_000)
    assert step(waiting(aged), world, 10_000) == RequestEnd("lifetime"), "a lifetime counts from creation"


def test_sleepers_time_out_too() -> None:
    timing = Timing(idle_after_s=1, hibernate_after_s=0, timeout_s=600, warn_before_s=0)
    for session, world in ((idle(Presence.PAUSED, timing), FROZEN), (idle(Presence.HIBERNATED, timing), GONE)):
        assert step(session, world, 600) == RequestEnd("idle_timeout")


def test_a_frozen_session_gives_up_its_container() -> None:
    timing = Timing(idle_after_s=300, hibernate_after_s=1000, timeout_s=0)
    assert step(idle(Presence.PAUSED, timing), FROZEN, 400) == Wait(600)
    assert fact(step(idle(Presence.PAUSED, timing), FROZEN, 1000)) is Fact.HIBERNATED
    assert step(idle(Presence.PAUSED, replace(timing, hibernate_after_s=0)), FROZEN, 9_999) == Wait(None)


def test_a_session_that_waits_for_a_budget_sleeps_but_is_not_ended() -> None:
    timing = Timing(idle_after_s=10, hibernate_after_s=20, timeout_s=30, warn_before_s=5)
    budget = WaitingFor.BUDGET
    assert fact(step(waiting(timing, waiting_for=budget), SERVED, 11)) is Fact.PAUSED
    assert fact(step(idle(Presence.PAUSED, timing, waiting_for=budget), FROZEN, 21)) is Fact.HIBERNATED
    asleep = idle(Presence.HIBERNATED, timing, waiting_for=budget)
    assert step(asleep, GONE, 10_000) == Wait(None)


def test_where_the_timeout_hibernates_it_never_ends_and_never_spins() -> None:
    timing = Timing(idle_after_s=0, hibernate_after_s=0, timeout_s=600, hibernate_on_timeout=True)
    assert step(waiting(timing), SERVED, 100) == Wait(500)
    assert fact(step(waiting(timing), SERVED, 600)) is Fact.PAUSED
    assert fact(step(idle(Presence.PAUSED, timing), FROZEN, 600)) is Fact.HIBERNATED
    assert step(idle(Presence.HIBERNATED, timing), GONE, 99_999) == Wait(None)
    asked = waiting(timing, waiting_for=WaitingFor.PERMISSION)
    assert step(asked, SERVED, 99_999) == Wait(None), "it waits for its answer, however long"


def test_woken_for_nothing_it_rests_again() -> None:
    session = idle(Presence.AWAKE, Timing(idle_after_s=300, timeout_s=0), since=MOMENT + timedelta(seconds=1000))
    assert step(session, SERVED, 1100) == Wait(200)
    assert fact(step(session, SERVED, 1300)) is Fact.PAUSED


TIMES = st.sampled_from([0.0, 1.0, 60.0, 300.0, 1800.0])


@given(
    st.builds(Timing, TIMES, TIMES, TIMES, TIMES, TIMES, st.booleans()),
    st.sampled_from([WaitingFor.PROMPT, WaitingFor.PERMISSION]),
    st.sampled_from(
        [
            (SessionStatus.WAITING_INPUT, Presence.AWAKE, SERVED),
            (SessionStatus.IDLE, Presence.AWAKE, SERVED),
            (SessionStatus.IDLE, Presence.PAUSED, FROZEN),
            (SessionStatus.IDLE, Presence.HIBERNATED, GONE),
            (SessionStatus.ACTIVE, Presence.AWAKE, SERVED),
        ]
    ),
    st.floats(0, 4000),
    st.booleans(),
)
def test_no_timer_spins(
    timing: Timing,
    prompt: WaitingFor,
    state: tuple[SessionStatus, Presence, World],
    after_s: float,
    warned: bool,
) -> None:
    status, presence, world = state
    session = waiting(
        timing, status=status, presence=presence, waiting_for=prompt, warned_at=MOMENT if warned else None
    )
    made = step(session, world, after_s)
    if isinstance(made, Wait) and made.seconds is not None:
        later = step(session, world, after_s + made.seconds + 0.02)
        assert not isinstance(later, Wait) or later.seconds is None or later.seconds >= 0.05, "a rest leads somewhere"


# --- freezing


def test_freezing_leads_clients_away_first_and_leaves_no_output_behind() -> None:
    session = idle(Presence.PAUSED)
    assert step(session, SERVED, 0) is Act.PUBLISH_TO_MANAGER
    led = replace(SERVED, route=Route.MANAGER)
    assert step(session, led, 0) is Act.DRAIN
    behind = replace(led, runner=replace(READY, quiet=True, seq=6))
    assert isinstance(step(session, behind, 0), Wait)
    assert step(session, replace(led, runner=replace(READY, quiet=True)), 0) is Act.PAUSE
    assert isinstance(step(session, replace(led, runner=replace(READY, working=True)), 0), Wait)


def test_waking_undoes_it_in_order() -> None:
    session = idle(Presence.AWAKE)
    assert step(session, FROZEN, 0) is Act.UNPAUSE
    thawed = World(RUNNING, replace(READY, quiet=True), Route.MANAGER, attached=True)
    assert step(session, thawed, 0) is Act.UNDRAIN
    assert step(session, replace(thawed, runner=READY), 0) is Act.PUBLISH


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
        (World(RUNNING, replace(READY, quiet=True), Route.ABSENT, attached=True), Act.UNDRAIN),
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
    for session in (waiting(status=status, container_id=None), wished(status=status)):
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
def test_the_agents_end_is_told_after_its_last_words(exit_code: int | None, expected: Fact) -> None:
    ended = Runner(RunnerPhase.ENDED, 1, 6, exit_code=exit_code)
    behind = World(RUNNING, ended, Route.RUNNER, attached=True)
    assert isinstance(step(waiting(), behind, 0), Wait)
    assert step(waiting(), replace(behind, attached=False), 0) is Act.ATTACH
    read = replace(behind, runner=replace(ended, seq=5))
    assert fact(step(waiting(), read, 0)) is expected
    assert fact(step(waiting(), replace(read, attached=False), 0)) is expected, "its relay has ended with it"


# --- the end


def wished(**changes: Any) -> Session:
    return waiting(wanted=Wanted.ENDED, end_reason="deleted", **changes)


def test_the_way_down_is_route_agent_last_words_container_record() -> None:
    session = wished()
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
    assert isinstance(step(wished(), silent, 1), Wait)
    assert step(wished(), replace(silent, probes_failed=1), 1) is Act.REMOVE
    assert step(wished(), silent, POLICY.stop_timeout_s + 1) is Act.REMOVE
    assert step(wished(generation=2), silent, 1) is Act.REMOVE, "nobody asks a runner of another generation"


def test_draining_has_a_deadline() -> None:
    late_s = POLICY.stop_timeout_s + POLICY.drain_timeout_s + 1
    for world in (World(RUNNING, READY), World(replace(RUNNING, state=SandboxState.PAUSED))):
        assert step(wished(), world, late_s) is Act.REMOVE
    assert step(wished(), World(replace(RUNNING, state=SandboxState.PAUSED)), 1) is Act.UNPAUSE


def test_a_container_of_another_generation_never_serves() -> None:
    assert step(waiting(generation=2), SERVED, 0) is Act.REMOVE
