"""An answer that does not fit its request is refused before it counts."""

from typing import Any, Final

import pytest

from jelmore_protocol.control import PermissionAnswer
from jelmore_protocol.events import Pending, Preview, WaitingFor
from jelmore_runner.errors import RefusedError
from jelmore_runner.pending_requests import ELICITATION, MAX_SHOWN_BYTES, Question, within_bounds

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


def form(**fields: Any) -> Question:
    """Return the request of an MCP server whose form has these fields; `name_` is a field that may be left out."""
    properties = {name.rstrip("_"): schema for name, schema in fields.items()}
    required = [name for name in fields if not name.endswith("_")]
    schema = {"type": "object", "properties": properties, "required": required}
    return Question(ELICITATION, {"mcp_server_name": "ask", "requested_schema": schema}, "Which?", [])


def allowed(**content: Any) -> PermissionAnswer:
    return PermissionAnswer(decision="allow", updated_input=content)


SIZES: Final[dict[str, Any]] = {"type": "string", "enum": ["S", "M", "L"]}
TITLED: Final[dict[str, Any]] = {"type": "string", "oneOf": [{"const": "s", "title": "Small"}]}
SEVERAL: Final[dict[str, Any]] = {
    "type": "array",
    "items": {"type": "string", "enum": ["a", "b"]},
    "minItems": 1,
    "maxItems": 1,
}
HUGE: Final = 10**400  # no float is as large
EACH: Final[dict[str, Any]] = {"type": "array", "items": {"anyOf": [{"const": "a", "title": "A"}]}}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (SIZES, "M"),
        (TITLED, "s"),
        (SEVERAL, ["b"]),
        (EACH, ["a", "a"]),
        ({"type": "string"}, ""),
        ({"type": "string", "minLength": 2, "maxLength": 2}, "éé"),
        ({"type": "string", "format": "email"}, "a@b.example"),
        ({"type": "string", "format": "uri"}, "https://example.com/x"),
        ({"type": "string", "format": "date"}, "2026-02-28"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00.5z"),
        ({"type": "string", "format": "of tomorrow"}, "anything"),
        ({"type": "integer", "minimum": 1, "maximum": 3}, 3),
        ({"type": "integer"}, 3.0),
        pytest.param({"type": "integer", "minimum": 0.5}, HUGE, id="huge"),
        pytest.param({"type": "number"}, -HUGE, id="hugely negative"),
        ({"type": "number", "minimum": "none"}, 0.5),
        ({"type": "boolean"}, False),
        ({"type": "object"}, {"beyond": "what MCP allows"}),
        ("no schema", 1),
    ],
)
def test_content_of_a_form_that_fits_is_passed_on(field: Any, value: Any) -> None:
    form(size=field).check(allowed(size=value))


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        (SIZES, 5, "must be a string"),
        (SIZES, "XL", "must be one of S, M, L"),
        (TITLED, "Small", "must be one of s"),
        (SEVERAL, "a", "must be a list"),
        (SEVERAL, ["c"], "must have only a, b"),
        (SEVERAL, [], "must have at least 1 of a, b"),
        (SEVERAL, ["a", "b"], "must have at most 1"),
        (EACH, [["a"]], "must have only a"),
        ({"type": "string", "minLength": 2}, "x", "must have at least 2 characters"),
        ({"type": "string", "maxLength": 2}, "xxx", "must have at most 2 characters"),
        ({"type": "string", "format": "email"}, "nobody", "must be an email address"),
        ({"type": "string", "format": "uri"}, "/here", "must be a URI"),
        ({"type": "string", "format": "date"}, "2026-02-30", "must be a date"),
        ({"type": "string", "format": "date"}, "20260228", "must be a date"),
        ({"type": "string", "format": "date"}, "2026-W48-6", "must be a date"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T10:00:00", "must be a time with its zone"),
        ({"type": "string", "format": "date-time"}, "2026-02-28T25:00:00Z", "must be a time with its zone"),
        ({"type": "integer"}, 1.5, "must be a whole number"),
        ({"type": "integer"}, "1", "must be a number"),
        ({"type": "number"}, True, "must be a number"),
        ({"type": "number"}, float("inf"), "must be a number"),
        ({"type": "number", "minimum": 1}, 0, "must be at least 1"),
        ({"type": "number", "maximum": 1}, 2, "must be at most 1"),
        pytest.param({"type": "integer", "maximum": 1}, HUGE, "must be at most 1", id="huge"),
        ({"type": "boolean"}, "yes", "must be true or false"),
    ],
)
def test_content_of_a_form_that_does_not_fit_is_refused_by_its_field(field: Any, value: Any, words: str) -> None:
    with pytest.raises(RefusedError, match=f"^updated_input.size: {words}"):
        form(size=field).check(allowed(size=value))


def test_a_form_has_its_required_fields_and_no_others() -> None:
    asked = form(size=SIZES, gift_={"type": "boolean"})
    asked.check(allowed(size="S"))
    asked.check(PermissionAnswer(decision="deny", message="not now"))
    for content in ({}, {"gift": True}):
        with pytest.raises(RefusedError, match=r"updated_input\.size: is required"):
            asked.check(allowed(**content))
    with pytest.raises(RefusedError, match=r"updated_input\.sise: is not a field of the form, which has size, gift"):
        asked.check(allowed(size="S", sise="M"))


def test_a_list_of_required_fields_that_has_no_names_requires_nothing() -> None:
    schema: dict[str, Any] = {"properties": {"size": SIZES}, "required": [["size"], {}, None]}
    Question(ELICITATION, {"requested_schema": schema}, "Which?", []).check(allowed())


def test_half_a_character_in_a_request_is_shown_as_something_else() -> None:
    half = "\ud83d"
    preview = Preview(kind="diff", text=half, path=half)
    asked = Question(half, {half: half}, f"Run {half}", [{half: half}], half, half, preview, half).pending(None)
    assert Pending.model_validate_json(asked.model_dump_json()) == asked
    assert (asked.tool, asked.title, asked.preview) == ("?", "Run ?", Preview(kind="diff", text="?", path="?"))
    assert within_bounds([asked]) == [asked]


@pytest.mark.parametrize("given", [{"answers": {"size": "S"}}, {"message": "the small one"}])
def test_what_a_server_would_not_get_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(RefusedError, match=f"{next(iter(given))}: .* send its content in updated_input"):
        form(size_=SIZES).check(PermissionAnswer(decision="allow", **given))


def test_a_request_to_open_an_address_takes_no_content() -> None:
    asked = Question(ELICITATION, {"mode": "url", "url": "https://example.com"}, "Sign in", [])
    asked.check(allowed())
    with pytest.raises(RefusedError, match="updated_input: the request asks to open its url"):
        asked.check(allowed(size="S"))
    Question(ELICITATION, {"requested_schema": "unreadable"}, "Which?", []).check(allowed(size="S"))
