"""The table of moves: every pair of status and fact either moves or is refused, and says so in events."""

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from jelmore.session.errors import IllegalMoveError
from jelmore.session.events import EventType
from jelmore.session.output_effects import _MEANINGFUL
from jelmore.session.record import Detail, Failure, Session
from jelmore.session.states import ENDED, LIVE, MOVES, Fact, Presence, SessionStatus, WaitingFor, Wanted
from jelmore.session.world import RunnerPhase
from jelmore_protocol.control import Phase
from jelmore_protocol.events import EventKind
from tests.support.records import MOMENT, new_session

LATER = MOMENT + timedelta(seconds=7)
FAILURE = Failure("running", "it broke", exit_code=3, oom=True, log_tail=("last",))
DETAIL = Detail(
    reason="because",
    waiting_for=WaitingFor.PERMISSION,
    failure=FAILURE,
    container_id="c2",
    agent_pid=7,
    output_seq=9,
    restarts=2,
)


def in_status(status: SessionStatus, **changes: object) -> Session:
    waiting = WaitingFor.PROMPT if status in {SessionStatus.WAITING_INPUT, SessionStatus.IDLE} else None
    return replace(new_session(waiting_for=waiting, container_id="c1", agent_pid=1), status=status, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "fact"), list(itertools.product(SessionStatus, Fact)))
def test_every_pair_moves_or_is_refused(status: SessionStatus, fact: Fact) -> None:
    session = in_status(status)
    if (status, fact) not in MOVES:
        with pytest.raises(IllegalMoveError, match=f"{fact} is not possible while {status}"):
            session.after(fact, LATER, DETAIL)
        return
    changed, drafts = session.after(fact, LATER, DETAIL)
    assert changed.status is MOVES[status, fact]
    events = [draft for draft in drafts if draft.type is EventType.SESSION_STATE_CHANGED]
    moved = changed.status is not status
    assert len(events) == moved
    if moved:
        moves = {"from": status.value, "to": changed.status.value, "reason": "because"}
        waits = changed.status is SessionStatus.WAITING_INPUT and changed.waiting_for is not None
        assert events[0].payload == ({**moves, "waiting_for": changed.waiting_for} if waits else moves)
        assert events[0].output_seq == 9
        assert changed.since == LATER


def test_every_fact_is_used_and_every_status_can_be_reached_and_left() -> None:
    assert {fact for _, fact in MOVES} == set(Fact)
    reached = {SessionStatus.INITIALIZING}
    while grown := {to for (before, _), to in MOVES.items() if before in reached} - reached:
        reached |= grown
    assert reached == set(SessionStatus)
    for status in SessionStatus:
        assert any(before is status and to is not status for (before, _), to in MOVES.items())


@pytest.mark.parametrize("status", LIVE)
def test_every_live_session_can_end_both_ways(status: SessionStatus) -> None:
    assert {MOVES[status, fact] for fact in (Fact.EXITED, Fact.REMOVED, Fact.FAILED)} == ENDED


@pytest.mark.parametrize("status", ENDED)
def test_an_ended_session_can_only_be_resumed(status: SessionStatus) -> None:
    assert [fact for fact in Fact if (status, fact) in MOVES] == [Fact.RESUMED]


def test_readiness_is_reported_once_in_a_life() -> None:
    for fact, waiting in ((Fact.READY, WaitingFor.PROMPT), (Fact.READY_BUSY, None)):
        ready, drafts = new_session().after(fact, LATER, Detail(container_id="c", agent_pid=5))
        assert (ready.container_id, ready.agent_pid, ready.waiting_for) == ("c", 5, waiting)
        assert [draft.type for draft in drafts] == [EventType.SESSION_STARTED, EventType.SESSION_STATE_CHANGED]
        assert drafts[0].payload == {"container_id": "c"}
        _, again = replace(new_session(), generation=2).after(fact, LATER, Detail(container_id="c"))
        assert [draft.type for draft in again] == [EventType.SESSION_STATE_CHANGED]


def test_pausing_hibernating_and_resuming() -> None:
    paused, events = in_status(SessionStatus.WAITING_INPUT).after(Fact.PAUSED, LATER)
    assert (paused.status, paused.presence) == (SessionStatus.IDLE, Presence.PAUSED)
    assert events[0].payload == {"since": MOMENT.isoformat()}
    hibernated, events = paused.after(Fact.HIBERNATED, LATER + timedelta(hours=1))
    assert (hibernated.presence, hibernated.container_id, hibernated.agent_pid, events) == (
        Presence.HIBERNATED,
        None,
        None,
        [],
    )
    assert hibernated.since == LATER + timedelta(hours=1), "the time to stop counts from here"
    assert hibernated.generation == paused.generation
    for sleeping, step in ((paused, 0), (hibernated, 1)):
        resumed, events = sleeping.after(Fact.RESUMING, LATER)
        assert resumed.presence is Presence.AWAKE
        assert resumed.generation == sleeping.generation + step, "only a new container is a new generation"
        assert resumed.last_activity_at == sleeping.last_activity_at, "a wake-up alone is no activity"
        assert [(draft.type, draft.payload) for draft in events] == [
            (EventType.SESSION_RESUMED, {"from": sleeping.presence.value})
        ]


def test_work_ends_a_pause_and_clears_the_warning() -> None:
    idle = in_status(SessionStatus.IDLE, presence=Presence.PAUSED, warned_at=MOMENT)
    busy, _ = idle.after(Fact.STARTED_WORKING, LATER)
    assert (busy.presence, busy.waiting_for, busy.warned_at) == (Presence.AWAKE, None, None)
    assert busy.last_activity_at == LATER


def test_a_loss_counts_only_when_it_was_not_asked_for() -> None:
    session = in_status(SessionStatus.ACTIVE, restarts=1, restarted_at=MOMENT)
    lost, events = session.after(Fact.CONTAINER_LOST, LATER, Detail(restarts=2))
    assert (lost.generation, lost.container_id, lost.agent_pid) == (2, None, None)
    assert (lost.restarts, lost.restarted_at, events) == (2, LATER, [])
    failure = Failure("running", "the container exited with 137, out of memory", 137, oom=True, log_tail=("last",))
    _, events = session.after(Fact.CONTAINER_LOST, LATER, Detail(restarts=2, failure=failure))
    assert [(draft.type, draft.payload["code"]) for draft in events] == [(EventType.ERROR_RECEIVED, "container_lost")]
    assert (events[0].payload["exit_code"], events[0].payload["oom"]) == (137, True)
    assert events[0].payload["log_tail"] == ["last"]
    asked, _ = session.after(Fact.CONTAINER_LOST, LATER, Detail(reason="restart"))
    assert (asked.generation, asked.restarts, asked.restarted_at) == (2, 1, MOMENT)


def test_ends_carry_their_reason_and_leave_nothing_pending() -> None:
    session = in_status(SessionStatus.ACTIVE, pending=({"request_id": "r"},))
    exited, events = session.after(Fact.EXITED, LATER)
    assert (exited.ended_at, exited.waiting_for, exited.pending) == (LATER, None, ())
    assert events[0].payload == {"reason": "exited"}
    ended, events = session.ending(MOMENT, "deleted").after(Fact.REMOVED, LATER, Detail(reason="other"))
    assert (ended.end_reason, events[0].payload) == ("deleted", {"reason": "deleted"})
    broke, events = session.after(Fact.FAILED, LATER, Detail(failure=FAILURE))
    assert broke.failure == FAILURE
    assert events[0].payload == {
        "error": "it broke",
        "phase": "running",
        "exit_code": 3,
        "oom": True,
        "log_tail": ["last"],
    }
    assert session.after(Fact.FAILED, LATER)[1][0].payload == {"error": "unknown"}


def test_resuming_forgets_the_end_and_keeps_the_numbers() -> None:
    over, _ = in_status(SessionStatus.ACTIVE, output_seq=5, restarts=3).after(Fact.FAILED, MOMENT, DETAIL)
    again, events = replace(over, wanted=Wanted.ENDED).after(Fact.RESUMED, LATER)
    assert again.status is SessionStatus.INITIALIZING
    assert (again.failure, again.ended_at, again.end_reason, again.restarts) == (None, None, None, 0)
    assert (again.wanted, again.container_id, again.generation, again.output_seq) == (Wanted.RUNNING, None, 2, 5)
    assert events[0].payload == {"from": "failed"}


def test_an_end_is_requested_once() -> None:
    session = in_status(SessionStatus.ACTIVE)
    ended = session.ending(LATER, "deleted")
    assert (ended.wanted, ended.end_reason, ended.since) == (Wanted.ENDED, "deleted", LATER)
    assert ended.ending(LATER, "again") is ended
    over, _ = session.after(Fact.EXITED, LATER)
    assert over.ending(LATER, "late") is over


def test_the_core_knows_the_words_of_the_protocol() -> None:
    assert [phase.value for phase in RunnerPhase] == [phase.value for phase in Phase]
    assert set(EventKind) >= _MEANINGFUL
