import json
from typing import Any

import pytest
from claude_agent_sdk import AssistantMessage, RateLimitEvent, ResultMessage, SystemMessage, UserMessage
from claude_agent_sdk._internal.message_parser import parse_message
from pydantic_core import from_json

from jelmore_runner.agents.claude.messages import message_json
from jelmore_runner.serialize import MAX_DEPTH, encode, plain


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no text")


ODD: list[Any] = [
    float("nan"),
    float("inf"),
    "\ud800 lone surrogate",
    {"\udfff": 1, 3: "number key", None: "none key"},
    b"\xff bytes",
    {1, 2},
    Hostile(),
    (1, [Hostile(), {"deep": Hostile()}]),
    "line\nbreak \u2028 \x00",
    10**400,
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_any_value_becomes_one_line_of_valid_json(value: Any) -> None:
    text = encode({"value": value})
    assert "\n" not in text
    assert isinstance(json.loads(text.encode()), dict)


def test_a_value_that_contains_itself_ends() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert json.loads(encode(loop))
    assert plain(loop)


def nested(depth: int) -> Any:
    value: Any = "end"
    for number in range(depth):
        value = [value] if number % 2 else {"in": value}
    return value


@pytest.mark.parametrize("depth", [MAX_DEPTH + 2, 150, 195, 900, 20_000])
def test_whatever_nests_deeply_is_cut_where_every_parser_still_reads_it(depth: int) -> None:
    text = encode({"message": {"content": [nested(depth), "beside"]}})
    assert from_json(text)["message"]["content"][1] == "beside"
    assert text.count("[") + text.count("{") <= MAX_DEPTH + 1
    assert "…" in text


def test_what_nests_less_is_kept_unchanged_however_wide() -> None:
    value = {"wide": [[["[{"]]] * 1_000, "deep": nested(MAX_DEPTH)}
    assert json.loads(encode(value)) == value


ASSISTANT = {
    "type": "assistant",
    "message": {
        "role": "assistant",
        "id": "msg_1",
        "model": "m",
        "content": [
            {"type": "text", "text": "hi"},
            {"type": "thinking", "thinking": "…", "signature": "s"},
            {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}},
        ],
        "stop_reason": "end_turn",
        "usage": {"output_tokens": 3},
    },
    "parent_tool_use_id": None,
    "session_id": "s",
    "uuid": "u",
    "user_message_uuids": ["x"],
}
USER = {
    "type": "user",
    "message": {
        "role": "user",
        "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x", "is_error": False}],
    },
    "parent_tool_use_id": "p",
    "uuid": "u",
    "tool_use_result": {"stdout": "x"},
}
RESULT = {
    "type": "result",
    "subtype": "success",
    "duration_ms": 1,
    "duration_api_ms": 1,
    "is_error": False,
    "num_turns": 1,
    "session_id": "s",
    "result": "done",
    "total_cost_usd": 0.1,
    "modelUsage": {"m": {"inputTokens": 1}},
    "user_message_uuids": ["x"],
    "terminal_reason": "completed",
}
SYSTEM = {"type": "system", "subtype": "init", "cwd": "/w", "anything": {"new": 1}}
RATE_LIMIT = {
    "type": "rate_limit_event",
    "rate_limit_info": {"status": "allowed", "resetsAt": 5},
    "uuid": "u",
    "session_id": "s",
}


@pytest.mark.parametrize("raw", [ASSISTANT, USER, RESULT, SYSTEM, RATE_LIMIT], ids=lambda raw: raw["type"])
def test_a_message_comes_out_as_claude_code_sent_it(raw: dict[str, Any]) -> None:
    assert json.loads(encode(message_json(parse_message(raw)))) == raw


def test_the_parser_gave_the_types_this_file_is_about() -> None:
    kinds = [type(parse_message(raw)) for raw in (ASSISTANT, USER, RESULT, SYSTEM, RATE_LIMIT)]
    assert kinds == [AssistantMessage, UserMessage, ResultMessage, SystemMessage, RateLimitEvent]


def test_an_unknown_message_is_still_an_object_with_a_type() -> None:
    assert message_json(Hostile())["type"] == "unknown"
