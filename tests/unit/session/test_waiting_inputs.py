"""Which inputs wait, according to stored output."""

from jelmore.session.output import Output
from jelmore.session.waiting_inputs import WaitingInputs
from jelmore_protocol.events import EventKind
from tests.support.records import line


def accepted(seq: int, input_id: str) -> Output:
    return line(seq, {"id": input_id, "input": f"do {input_id}", "by": "me"}, EventKind.INPUT)


def test_an_input_waits_until_the_agent_has_it_or_it_is_cancelled() -> None:
    waiting = WaitingInputs(100)
    waiting.feed([accepted(1, "one"), accepted(2, "two"), accepted(3, "three"), accepted(4, "four")])
    waiting.feed([line(5, {"state": "active", "waiting_for": None, "input_id": "one"}, EventKind.STATE)])
    waiting.feed([line(6, {"id": "three", "input": "do it better", "by": "you"}, EventKind.INPUT_CHANGED)])
    assert [(each.id, each.input, each.by, each.seq) for each in waiting.listed()] == [
        ("two", "do two", "me", 2),
        ("three", "do it better", "me", 3),
        ("four", "do four", "me", 4),
    ]
    waiting.feed([line(7, {"id": "two", "by": "you"}, EventKind.INPUT_CANCELLED)])
    waiting.feed([line(8, {"input_id": "four", "outcome": "failed"}, EventKind.TURN_ENDED)])
    waiting.feed([line(9, {"state": "waiting_input", "waiting_for": "budget", "input_id": None}, EventKind.STATE)])
    waiting.feed([line(10, {"id": "one", "input": "late"}, EventKind.INPUT_CHANGED)])
    assert [each.id for each in waiting.listed()] == ["three"]


def test_output_with_any_number_of_inputs_costs_bounded_memory() -> None:
    waiting = WaitingInputs(3)
    waiting.feed(accepted(seq, str(seq)) for seq in range(1, 1001))
    assert [each.id for each in waiting.listed()] == ["998", "999", "1000"]
