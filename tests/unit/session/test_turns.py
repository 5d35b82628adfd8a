"""A fork keeps the turns that had ended, whatever else was accepted before its point."""

from typing import Any

from jelmore.session.turns import Turns, turns_up_to

OUTPUTS: list[tuple[int, str, dict[str, Any]]] = [
    (1, "input", {"id": "one"}),
    (2, "input", {"id": "queued"}),
    (5, "turn_ended", {"input_id": "one"}),
    (6, "turn_ended", {"input_id": None}),
    (8, "interrupted", {"input_id": "queued"}),
    (9, "input", {"id": "running"}),
]


def test_turns_are_divided_by_where_they_ended() -> None:
    assert turns_up_to(OUTPUTS, 4) == Turns((), ("one", "queued", "running"), 1)
    assert turns_up_to(OUTPUTS, 5) == Turns(("one",), ("queued", "running"), 2)
    assert turns_up_to(OUTPUTS, 99) == Turns(("one", "queued"), ("running",), 9)
    assert turns_up_to([], 9) == Turns((), ())


def test_the_next_turn_is_the_one_that_ran_and_no_cancelled_one() -> None:
    later: list[tuple[int, str, dict[str, Any]]] = [
        (1, "input", {"id": "one"}),
        (2, "turn_ended", {"input_id": "one"}),
        (3, "input", {"id": "cancelled"}),
        (4, "input", {"id": "two"}),
        (5, "input_cancelled", {"id": "cancelled"}),
    ]
    assert turns_up_to(later, 2) == Turns(("one",), ("cancelled", "two"), 4)
    assert turns_up_to([*later, (6, "turn_ended", {"input_id": "two"})], 2).next_seq == 4
    assert turns_up_to(later[:4], 2).next_seq == 3, "the first of those that wait"
    assert turns_up_to(later[:2], 2).next_seq is None
