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
    assert turns_up_to(OUTPUTS, 4) == Turns((), ("one", "queued", "running"))
    assert turns_up_to(OUTPUTS, 5) == Turns(("one",), ("queued", "running"))
    assert turns_up_to(OUTPUTS, 99) == Turns(("one", "queued"), ("running",))
    assert turns_up_to([], 9) == Turns((), ())
