"""An answer that does not fit its request is refused before it counts."""

import pytest

from jelmore_protocol.control import PermissionAnswer
from jelmore_protocol.events import Pending, WaitingFor
from jelmore_runner.errors import RefusedError
from jelmore_runner.pending_requests import MAX_SHOWN_BYTES, Question, within_bounds

ASKED = Question(
    "AskUserQuestion",
    {"questions": [{"question": "Which?", "multiSelect": False}, {"question": "What else?", "multiSelect": True}]},
    "Which?",
    [],
)


def test_answers_to_what_was_asked_fit() -> None:
    ASKED.check(PermissionAnswer(decision="allow", answers={"Which?": "a", "What else?": ["b", "c"]}))
    ASKED.check(PermissionAnswer(decision="deny"))


@pytest.mark.parametrize(
    ("answers", "words"),
    [({"When?": "now"}, "'When\\?' is not a question that was asked"), ({"Which?": ["a", "b"]}, "takes one answer")],
)
def test_other_answers_are_refused_by_name(answers: dict[str, str | list[str]], words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        ASKED.check(PermissionAnswer(decision="allow", answers=answers))


def test_requests_that_wait_are_bounded_in_all_and_none_is_left_out() -> None:
    pending = [
        Pending(
            request_id=str(number),
            waiting_for=WaitingFor.PERMISSION,
            tool="Write",
            title="Write",
            input={"file_path": f"{number}.txt", "content": "x" * 900_000},
        )
        for number in range(20)
    ]
    shown = within_bounds(pending)
    assert [each.request_id for each in shown] == [each.request_id for each in pending]
    assert shown[:2] == pending[:2]
    assert shown[2].input["file_path"] == "2.txt"
    assert shown[2].input["truncated"]["bytes"] > 900_000
    assert sum(len(each.model_dump_json()) for each in shown) < MAX_SHOWN_BYTES + 20 * 4096
