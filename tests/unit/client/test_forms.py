"""The form of an MCP server, as people type it at the command and while attached."""

from typing import Any, Final

import pytest

from jelmore_client import Answer
from jelmore_client.cli.attach import Conversation, answer_of, question_blocks
from jelmore_client.cli.choices import UnclearError, choice
from jelmore_client.cli.forms import content_of, form_parts, value_of
from jelmore_client.models import Pending

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "string", "enum": ["S", "M"], "enumNames": ["Small", "Medium"], "description": "of the shirt"},
        "colours": {"type": "array", "items": {"anyOf": [{"const": "r", "title": "Red"}, {"const": "g"}]}},
        "count": {"type": "integer"},
        "price": {"type": "number"},
        "gift": {"type": "boolean", "title": "A gift?"},
        "until": {"type": "string", "format": "date"},
    },
}
GIVEN: Final[dict[str, Any]] = {"mcp_server_name": "shop", "requested_schema": SCHEMA}


def asked(given: dict[str, Any]) -> Conversation:
    conversation = Conversation()
    conversation.wait_for(
        Pending(request_id="e", waiting_for="question", tool="Elicitation", title="Which?", input=given)
    )
    return conversation


def test_fields_are_given_by_name() -> None:
    typed = ["size=M", "colours=Red, 2", "count=3", "price=1.5", "gift=Yes", "until=2026-11-28"]
    content = {"size": "M", "colours": ["r", "g"], "count": 3, "price": 1.5, "gift": True, "until": "2026-11-28"}
    assert content_of(GIVEN, typed) == content
    assert content_of(GIVEN, ["size=2", "gift=-", "until="]) == {"size": "M", "until": ""}
    assert content_of(GIVEN, ["size=Small", "count=-"]) == {"size": "S"}
    assert content_of(GIVEN, ["size=XL"]) == {"size": "XL"}  # the server says what it may be


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("size", "give NAME=VALUE with a field of the form .size, colours"),
        ("sise=M", "give NAME=VALUE"),
        ("count=1.5", "count: type a whole number"),
        ("price=much", "price: type a number"),
        ("gift=perhaps", "gift: type yes or no"),
        ("count=" + "9" * 400, "count: type a"),
    ],
)
def test_what_is_no_value_of_a_field_is_refused(typed: str, words: str) -> None:
    with pytest.raises(UnclearError, match=words):
        content_of(GIVEN, [typed])


def test_a_form_is_asked_field_by_field_while_attached() -> None:
    conversation = asked(GIVEN)
    part = conversation.question()
    assert part is not None
    assert [block.text for block in question_blocks(part)] == ["size of the shirt", "1. Small  \n2. Medium  "]
    assert conversation.prompt() == "answer (number or text, /decline) > "
    for typed in ("1", "-", "4", "-"):
        assert answer_of(conversation, typed) is None
    part = conversation.question()
    assert part is not None
    assert part["question"] == "A gift? (yes or no); - leaves it out"
    with pytest.raises(UnclearError, match="yes or no"):
        answer_of(conversation, "4")
    assert answer_of(conversation, "n") is None
    assert answer_of(conversation, "-") == Answer.allow({"size": "S", "count": 4, "gift": False})
    assert conversation.question() is not None  # asked again, should the server refuse it


def test_numbers_and_own_words_go_together_where_several_may_be_chosen() -> None:
    part = {"question": "Fruits?", "multiSelect": True, "options": [{"label": "apple"}, {"label": "pear"}]}
    assert choice(part, "2, a quince") == ["pear", "a quince"]
    assert choice(part, "3,") == ["3"]
    assert choice({**part, "multiSelect": False}, "2, a quince") == "2, a quince"


def test_a_form_is_declined_and_an_address_is_accepted() -> None:
    assert answer_of(asked(GIVEN), "/decline") == Answer.deny()
    address = asked({"mode": "url", "url": "https://example.com/sign-in"})
    assert address.question() is None
    assert answer_of(address, "y") == Answer.allow()
    assert form_parts({"requested_schema": "unreadable"}) == []
    assert value_of({"name": "x", "field": {"type": "array", "items": 1}, "required": True}, "a, b") == ["a", "b"]


@pytest.mark.parametrize("typed", ["nan", "inf", "1e400"])
def test_a_number_that_json_does_not_have_is_refused(typed: str) -> None:
    with pytest.raises(UnclearError, match="type a number"):
        value_of({"name": "x", "field": {"type": "number"}, "required": True}, typed)


@pytest.mark.parametrize("field", [{"enum": 5}, {"enum": {"a": 1}}, {"oneOf": [1, None, {"const": "a"}]}])
def test_a_schema_that_is_none_does_not_end_the_command(field: dict[str, Any]) -> None:
    (part,) = form_parts({"requested_schema": {"properties": {"x": field, "y": 1}, "required": 7}})
    assert value_of(part, "a") == "a"
