"""Every timer of a session: when it is paused, hibernated, warned and ended, and who never is."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jelmore.session.acts import RequestEnd, Wait, Warn
from jelmore.session.record import Timing
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor
from jelmore.session.world import Route, Runner, World
from tests.support.records import MOMENT
from tests.unit.session.deciding import FROZEN, GONE, READY, SERVED, fact, idle, step, waiting


def test_an_idle_session_is_paused_on_time_and_not_before() -> None:
    timing = Timing(idle_after_s=300, timeout_s=0)
    assert step(waiting(timing), SERVED, 100) == Wait(200)
    assert fact(step(waiting(timing), SERVED, 300)) is Fact.PAUSED


@pytest.mark.parametrize("prompt", [WaitingFor.PERMISSION, WaitingFor.QUESTION])
def test_a_session_that_waits_for_an_answer_is_never_paused(prompt: WaitingFor) -> None:
    timing = Timing(idle_after_s=1, hibernate_after_s=2, timeout_s=0)
    assert step(waiting(timing, waiting_for=prompt), SERVED, 10_000) == Wait(None)
    assert step(idle(Presence.PAUSED, timing, waiting_for=prompt), FROZEN, 10_000) == Wait(None)


def test_background_work_is_not_idle() -> None:
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


def test_a_manager_that_was_away_at_the_deadline_warns_first_and_ends_after_the_whole_notice() -> None:
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
    sleeping_session = idle(Presence.HIBERNATED, timing, waiting_for=budget)
    assert step(sleeping_session, GONE, 10_000) == Wait(None)


def test_where_the_timeout_hibernates_it_never_ends_and_never_spins() -> None:
    timing = Timing(idle_after_s=0, hibernate_after_s=0, timeout_s=600, hibernate_on_timeout=True)
    assert step(waiting(timing), SERVED, 100) == Wait(500)
    assert fact(step(waiting(timing), SERVED, 600)) is Fact.PAUSED
    assert fact(step(idle(Presence.PAUSED, timing), FROZEN, 600)) is Fact.HIBERNATED
    assert step(idle(Presence.HIBERNATED, timing), GONE, 99_999) == Wait(None)
    asked = waiting(timing, waiting_for=WaitingFor.PERMISSION)
    assert step(asked, SERVED, 99_999) == Wait(None), "it waits for its answer, however long"


def test_a_session_resumed_for_nothing_is_paused_again() -> None:
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
