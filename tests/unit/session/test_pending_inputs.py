"""The inputs that a hibernated session has accepted, in its record."""

from dataclasses import replace

from jelmore.session.acts import Act, HandOver, RequestEnd
from jelmore.session.foreseen import world_after
from jelmore.session.output_effects import read
from jelmore.session.pending_inputs import (
    MAX_PENDING_BYTES,
    PendingInput,
    added,
    changed,
    due,
    handed_over,
    of_id,
    refused,
    retried,
    without,
)
from jelmore.session.record import Detail, Failure
from jelmore.session.states import Fact, Presence, WaitingFor
from jelmore.session.world import Route, RunnerPhase
from jelmore_protocol.events import EventKind
from tests.support.records import MOMENT, line
from tests.unit.session.deciding import READY, SERVED, fact, idle, step


def held(name: str, text: str = "go") -> PendingInput:
    return PendingInput(name, text, "key", MOMENT.isoformat(), 5)


ONE, TWO, THREE = held("one"), held("two"), held("three")


def test_inputs_keep_their_order_come_once_and_are_bounded_in_bytes() -> None:
    assert added((ONE,), TWO) == (ONE, TWO)
    assert added((ONE, TWO), held("one", "another text")) == (ONE, TWO)
    assert added((ONE,), held("large", "x" * MAX_PENDING_BYTES)) is None
    assert changed((ONE, TWO), "one", "x" * MAX_PENDING_BYTES) is None
    assert changed((ONE, TWO), "one", "stop") == (held("one", "stop"), TWO)
    assert (of_id((ONE, TWO), "two"), of_id((ONE,), "two")) == (TWO, None)
    assert without((ONE, TWO), "one") == (TWO,)


def test_nothing_behind_a_refused_input_is_handed_over_until_that_is_tried_again() -> None:
    sent = handed_over((ONE, TWO, THREE))
    assert all(each.handed_over for each in sent)
    after = refused(sent, "two", "full")
    assert [(each.id, each.handed_over, each.refusal) for each in after] == [
        ("one", True, None),
        ("two", False, "full"),
        ("three", False, None),
    ]
    assert due(after) == (sent[0],)
    assert handed_over(after) == after
    assert due(retried(after)) == retried(after)
    resumed, _ = idle(Presence.HIBERNATED, pending_inputs=after).after(Fact.RESUMING, MOMENT)
    assert resumed.pending_inputs == retried(after)


def test_a_runner_gets_the_inputs_before_its_url_leads_to_it() -> None:
    session = idle(Presence.AWAKE, pending_inputs=(ONE,), container_id=None)
    world = replace(SERVED, route=Route.MANAGER)
    for phase in (RunnerPhase.STARTING, RunnerPhase.READY):
        listening = replace(world, runner=replace(READY, phase=phase))
        assert step(session, listening, 0) == HandOver(), "nobody else may change it from then on"
        sent = replace(session, pending_inputs=handed_over(session.pending_inputs))
        assert step(sent, listening, 0) is Act.DELIVER
        assert step(sent, replace(listening, attached=False), 0) is Act.ATTACH
        assert fact(step(sent, listening, 61)) is Fact.FAILED, "a runner that takes none is no runner"
    sent = replace(session, pending_inputs=handed_over(session.pending_inputs))
    delivered = world_after(world, Act.DELIVER)
    assert delivered is not None
    assert step(sent, delivered, 0) is Act.PUBLISH
    waits = replace(session, pending_inputs=refused((ONE,), "one", "full"))
    assert step(waits, world, 0) is Act.PUBLISH, "a refusal does not keep the session from being used"


def test_a_runner_that_takes_no_input_does_not_outlive_its_session() -> None:
    session = idle(Presence.AWAKE, pending_inputs=handed_over((ONE,)))
    assert step(session, SERVED, 0) is Act.DELIVER
    limited = replace(session, spec=replace(session.spec, timing=replace(session.spec.timing, lifetime_s=30)))
    assert step(limited, SERVED, 29) is Act.DELIVER
    assert step(limited, SERVED, 31) == RequestEnd("lifetime")


def test_an_input_leaves_the_record_with_the_output_that_records_it() -> None:
    session = idle(Presence.AWAKE, pending_inputs=(ONE, TWO))
    after, _ = read(session, [line(6, {"id": "one", "input": "go", "by": "key"}, EventKind.INPUT)])
    assert after.pending_inputs == (TWO,)


def test_a_session_that_cannot_be_resumed_keeps_its_inputs_and_says_so() -> None:
    session = idle(Presence.AWAKE, pending_inputs=(ONE,), container_id=None)
    failed, drafts = session.after(Fact.FAILED, MOMENT, Detail(reason="x", failure=Failure("starting", "no disk")))
    assert failed.pending_inputs == (ONE,)
    assert drafts[0].payload["pending_inputs"] == 1
    again, _ = failed.after(Fact.RESUMED, MOMENT)
    assert again.pending_inputs == (ONE,)


def test_only_a_hibernated_session_that_waits_for_a_prompt_takes_inputs_without_a_runner() -> None:
    assert idle(Presence.HIBERNATED).accepts_while_hibernated
    assert not idle(Presence.PAUSED).accepts_while_hibernated
    assert not idle(Presence.HIBERNATED, waiting_for=WaitingFor.BUDGET).accepts_while_hibernated
    assert not idle(Presence.HIBERNATED, pending=({"request_id": "r"},)).accepts_while_hibernated
    assert not idle(Presence.HIBERNATED).ending(MOMENT, "deleted").accepts_while_hibernated
