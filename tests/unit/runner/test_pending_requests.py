"""An answer that does not fit its request is refused before it counts."""

import pytest

from jelmore_protocol.control import PermissionAnswer
from jelmore_runner.errors import RefusedError
from jelmore_runner.pending_requests import Question

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
