"""What callers may send, and how what they may not is refused."""

import subprocess
from typing import Any

import pytest
from pydantic import ValidationError

from jelmore.api.fields import MAX_ARGUMENT_BYTES
from jelmore.api.schemas import (
    MAX_METADATA_BYTES,
    AnswerBody,
    ChangeBody,
    CreateBody,
    InputBody,
    TokenBody,
)
from jelmore.session.errors import TooLargeError
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.permissions import for_session
from jelmore_protocol.tokens import Scope


def test_nothing_at_all_is_a_session_that_waits() -> None:
    request = CreateBody().request(None)
    assert request.query is None
    assert dict(request.timing) == {}
    assert dict(request.limits) == {}


def test_everything_reaches_the_control_plane() -> None:
    body = CreateBody.model_validate(
        {
            "query": "hello",
            "user_id": "ada",
            "title": "first",
            "metadata": {"team": "blue", "deep": [{"a": None}]},
            "model": "m",
            "permission_mode": "plan",
            "allowed_tools": ["Bash"],
            "system_prompt": "be brief",
            "max_turns": 3,
            "max_budget_usd": 1,
            "mcp_servers": {"x": {"type": "http", "url": "http://mcp"}},
            "limits": {"memory": "2g", "cpus": 2, "pids": 300},
            "timeout_minutes": 1.5,
            "idle_after_s": 1,
            "hibernate_after_s": 0,
            "warn_before_s": 4,
            "lifetime_s": 5,
            "on_timeout": "hibernate",
        }
    )
    request = body.request(3600)
    assert dict(request.limits) == {"memory_bytes": 2 * 1024**3, "cpus": 2, "pids": 300}
    assert dict(request.timing) == {
        "timeout_s": 90,
        "idle_after_s": 1,
        "hibernate_after_s": 0,
        "warn_before_s": 4,
        "lifetime_s": 5,
        "hibernate_on_timeout": True,
    }
    assert (request.query, request.user_id, request.title, request.model) == ("hello", "ada", "first", "m")
    assert (request.permission_mode, request.allowed_tools, request.max_turns) == ("plan", ("Bash",), 3)
    assert request.metadata == {"team": "blue", "deep": [{"a": None}]}


def test_a_mount_has_a_timeout_of_its_own_and_zero_is_for_ever() -> None:
    assert CreateBody().request(3600).timing["timeout_s"] == 3600
    assert CreateBody.model_validate({"timeout_minutes": 0}).request(3600).timing["timeout_s"] == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"qwery": "x"}, "qwery"),
        ({"skill": []}, "skill"),
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": 7}, "query"),
        ({"query": "a\x00b"}, "query"),
        ({"query": "\ud800"}, "query"),
        ({"user_id": ""}, "user_id"),
        ({"user_id": "x" * 257}, "user_id"),
        ({"metadata": []}, "metadata"),
        ({"metadata": {"a": "x" * MAX_METADATA_BYTES}}, "metadata"),
        ({"metadata": {"a": float("nan")}}, "metadata"),
        ({"metadata": {"a": ["\x00"]}}, "metadata"),
        ({"metadata": {"\ud800": 1}}, "metadata"),
        ({"permission_mode": "yolo"}, "permission_mode"),
        ({"allowed_tools": "Bash"}, "allowed_tools"),
        ({"max_turns": 0}, "max_turns"),
        ({"max_turns": True}, "max_turns"),
        ({"max_turns": 1.5}, "max_turns"),
        ({"max_budget_usd": float("inf")}, "max_budget_usd"),
        ({"limits": {"memory": "much"}}, "limits.memory"),
        ({"limits": {"memory_bytes": "5"}}, "limits.memory_bytes"),
        ({"limits": {"disk": 5}}, "limits.disk"),
        ({"limits": {"memory": "2g", "memory_bytes": 5}}, "limits"),
        ({"timeout_minutes": -1}, "timeout_minutes"),
        ({"timeout_minutes": "30"}, "timeout_minutes"),
        ({"timeout_minutes": True}, "timeout_minutes"),
        ({"on_timeout": "explode"}, "on_timeout"),
    ],
)
def test_a_bad_value_is_refused_by_name(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        CreateBody.model_validate(body)
    places = {".".join(str(part) for part in each["loc"]) for each in caught.value.errors()}
    assert any(place == field or place.startswith(f"{field}.") for place in places), places


def test_metadata_too_deep_is_refused_and_not_a_crash() -> None:
    value: Any = 1
    for _ in range(400):
        value = [value]
    with pytest.raises(ValidationError):
        CreateBody.model_validate({"metadata": {"a": value}})


@pytest.mark.parametrize(
    ("text", "size"), [("512m", 512 * 1024**2), ("2G", 2 * 1024**3), ("1.5gb", 1610612736), ("7", 7)]
)
def test_memory_may_be_written_as_people_write_it(text: str, size: int) -> None:
    assert CreateBody.model_validate({"limits": {"memory": text}}).limits.requested() == {"memory_bytes": size}


def test_an_input_may_be_as_long_as_a_runner_takes_and_no_longer() -> None:
    assert len(InputBody.model_validate({"input": "x" * MAX_INPUT_BYTES}).input) == MAX_INPUT_BYTES
    with pytest.raises(TooLargeError):
        InputBody.model_validate({"input": "ü" * (MAX_INPUT_BYTES // 2 + 1)})


@pytest.mark.parametrize("body", [{}, {"input": ""}, {"input": "  "}, {"input": None}, {"input": "x", "id": "a b"}])
def test_a_bad_input_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        InputBody.model_validate(body)


def test_what_a_change_does_not_name_it_leaves_alone() -> None:
    changes = ChangeBody.model_validate({"timeout_minutes": 2}).changes()
    assert changes.timeout_s == 120
    assert (changes.title, changes.metadata, changes.archived, changes.model) == (None, None, None, None)


def test_an_answer_is_allow_or_deny() -> None:
    assert AnswerBody.model_validate({"decision": "allow", "answers": {"Which?": "this"}}).answers == {"Which?": "this"}
    with pytest.raises(ValidationError):
        AnswerBody.model_validate({"decision": "maybe"})


def test_an_answer_may_be_remembered_and_its_rules_are_checked() -> None:
    rule = {"toolName": "Bash", "ruleContent": "npm test:*"}
    update = {"type": "addRules", "behavior": "allow", "rules": [rule], "destination": "userSettings"}
    answer = AnswerBody.model_validate({"decision": "allow", "updated_permissions": [update]}).answer()
    assert answer.model_fields_set == {"decision", "updated_permissions"}
    assert answer.updated_permissions is not None
    assert for_session(answer.updated_permissions[0])["destination"] == "session"
    for wrong, field in (
        ({"decision": "allow", "updated_permissions": [{**update, "rules": [{"toolname": "Bash"}]}]}, "toolName"),
        ({"decision": "allow", "updated_permissions": [{"type": "addDirectories", "directories": ["a"]}]}, "absolute"),
        ({"decision": "allow", "updated_permissions": [update], "remember": "once"}, "remember"),
        ({"decision": "deny", "remember": "session"}, "allow"),
        ({"decision": "allow", "interrupt": True}, "deny"),
    ):
        with pytest.raises(ValidationError, match=field):
            AnswerBody.model_validate(wrong)


def test_a_token_may_do_both_unless_less_is_asked() -> None:
    assert TokenBody().wanted() == {Scope.READ, Scope.WRITE}
    assert TokenBody.model_validate({"scopes": ["read"]}).wanted() == {Scope.READ}
    for scopes in ([], ["admin"]):
        with pytest.raises(ValidationError):
            TokenBody.model_validate({"scopes": scopes})


@pytest.mark.parametrize(
    ("field", "fits", "too_much"),
    [
        ("system_prompt", "ä" * 60_000, "ä" * 60_001),
        ("allowed_tools", ["x" * 256] * 256, ["ä" * 256] * 256),
        ("mcp_servers", {"a": {"url": "x" * 119_900}}, {"a": {"url": "ä" * 20_000}}),
    ],
)
def test_what_is_longer_than_an_argument_may_be_is_refused_by_name(field: str, fits: object, too_much: object) -> None:
    assert getattr(CreateBody.model_validate({field: fits}), field) == fits
    with pytest.raises(ValidationError) as caught:
        CreateBody.model_validate({field: too_much})
    (error,) = caught.value.errors()
    assert error["loc"] == (field,)
    assert "must not exceed 120000 bytes" in error["msg"]


def test_the_longest_argument_is_one_that_the_system_takes() -> None:
    assert subprocess.run(["/bin/true", "x" * MAX_ARGUMENT_BYTES], check=False).returncode == 0
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["/bin/true", "x" * 131_072], check=False)
