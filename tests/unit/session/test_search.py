"""What of the output can be searched."""

from typing import Any

import pytest

from jelmore.session.search import MAX_CHARACTERS, searchable
from jelmore_protocol.events import EventKind
from tests.support.records import line


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        (EventKind.INPUT, {"id": "i", "input": "fix it"}, "fix it"),
        (EventKind.INPUT_CHANGED, {"id": "i", "input": "fix it better"}, "fix it better"),
        (EventKind.SAID, {"text": "done", "thinking": False}, "done"),
        (EventKind.SAID, {"text": "hm", "thinking": True}, None),
        (EventKind.SAID, {"text": " \n"}, None),
        (EventKind.SAID, {"text": 7}, None),
        (EventKind.TOOL_USED, {"text": "ls", "input": "ls"}, None),
        (EventKind.MESSAGE, {"text": "raw"}, None),
    ],
)
def test_prompts_and_answers_are_searched_and_nothing_else(
    kind: EventKind, data: dict[str, Any], text: str | None
) -> None:
    assert searchable(line(1, data, kind)) == text


def test_a_long_message_is_searched_by_its_beginning_and_a_huge_one_not_at_all() -> None:
    assert searchable(line(1, {"input": "x" * 20_000}, EventKind.INPUT)) == "x" * MAX_CHARACTERS
    assert searchable(line(1, {"input": "x" * 600_000}, EventKind.INPUT)) is None
