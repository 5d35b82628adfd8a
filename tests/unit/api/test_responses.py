"""How sessions and conversations are shown."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest

from jelmore.api.messages import conversation
from jelmore.api.responses import health_word, show, show_created, urls_of
from jelmore.control.requests import Created, IssuedToken
from jelmore.session.output import Output
from jelmore.session.record import Failure, Session, Spec, Timing, Usage
from jelmore.session.states import Presence, SessionStatus, WaitingFor

ID = UUID("0198c0de-0000-7000-8000-000000000001")
NOW = datetime(2026, 1, 1, 14, 30, 0, 123456, tzinfo=timezone(timedelta(hours=2)))


def session(**more: Any) -> Session:
    spec = Spec(query="hello", user_id="ada", model="m", timing=Timing(timeout_s=90, hibernate_on_timeout=True))
    plain = Session(id=ID, owner="key_1", spec=spec, created_at=NOW, last_activity_at=NOW, since=NOW)
    return replace(plain, **more)


def test_everything_a_user_was_promised_is_there() -> None:
    shown = json.loads(show(session(usage=Usage(2, 3, 4, 0.5), output_seq=17), "https://host").model_dump_json())
    promised = (
        "status query current_directory user_id model claude_process_id container_id metadata created_at updated_at "
        "last_activity terminated_at output_buffer_size usage urls health waiting_for"
    )
    assert set(promised.split()) <= set(shown)
    assert shown["id"] == shown["session_id"] == str(ID)
    assert shown["created_at"] == "2026-01-01T12:30:00.123Z"
    assert shown["terminated_at"] is None
    assert shown["output_buffer_size"] == 17
    tokens = {"input_tokens": 3, "output_tokens": 4, "cache_read_tokens": 0, "cache_write_tokens": 0}
    assert shown["usage"] == {"turns": 2, **tokens, "cost_usd": 0.5}
    assert shown["timing"]["timeout_minutes"] == 1.5
    assert shown["timing"]["on_timeout"] == "hibernate"
    assert shown["pending_url"] is None


@pytest.mark.parametrize("stored", [{}, {"current_directory": None}], ids=["new", "stored by an older version"])
def test_an_agent_that_has_not_moved_is_where_it_started(stored: dict[str, Any]) -> None:
    assert show(session(**stored), "http://h").current_directory == "/session/workspace"


def test_the_urls_follow_the_address_people_use() -> None:
    assert urls_of("x", "https://a.b").ws == "wss://a.b/s/x/ws"
    assert urls_of("x", "http://a.b:8080").ws == "ws://a.b:8080/s/x/ws"
    assert urls_of("x", "https://a.b").stream == "https://a.b/api/v1/sessions/x/stream"


def test_a_failure_is_reported_in_full() -> None:
    failed = session(status=SessionStatus.FAILED, ended_at=NOW, failure=Failure("running", "killed", 137, oom=True))
    shown = show(failed, "http://h")
    assert shown.failure is not None
    assert (shown.failure.error, shown.failure.exit_code, shown.failure.oom) == ("killed", 137, True)
    assert shown.health.status == "failed"


def test_a_waiting_permission_can_be_found() -> None:
    shown = show(session(status=SessionStatus.WAITING_INPUT, waiting_for=WaitingFor.PERMISSION), "http://h")
    assert shown.pending_url == f"http://h/api/v1/sessions/{ID}/permissions"


def test_health_in_one_word() -> None:
    assert health_word(session()) == "starting"
    assert health_word(session(container_id="c")) == "healthy"
    assert health_word(session(presence=Presence.HIBERNATED)) == "asleep"
    assert health_word(session(status=SessionStatus.TERMINATED)) == "ended"


def test_a_session_without_a_container_is_not_shown_as_awake() -> None:
    def presence(**more: object) -> str:
        return str(json.loads(show(session(**more), "http://h").model_dump_json())["presence"])

    assert presence() == "awake", "it is being created"
    assert presence(status=SessionStatus.WAITING_INPUT, container_id="c") == "awake"
    assert presence(status=SessionStatus.WAITING_INPUT) == "hibernated", "its container was lost or released"
    assert presence(status=SessionStatus.IDLE, container_id="c", presence=Presence.PAUSED) == Presence.PAUSED.value


def test_create_answers_the_token_too() -> None:
    created = Created(session(), IssuedToken("t.o.k", datetime(2026, 1, 1, tzinfo=UTC)), is_new=True)
    shown = json.loads(show_created(created, "http://h").model_dump_json())
    assert shown["token"] == "t.o.k"
    assert shown["token_expires_at"] == "2026-01-01T00:00:00.000Z"
    assert shown["id"] == str(ID)


def output(seq: int, kind: str, **data: Any) -> Output:
    return Output(seq, kind, NOW, json.dumps({"data": data}))


def test_the_messages_of_a_sub_agent_are_marked() -> None:
    said = {"type": "assistant", "message": {"content": [{"type": "text", "text": "hi"}]}}
    outputs = [
        output(1, "message", message={**said, "parent_tool_use_id": None}),
        output(2, "message", message={**said, "parent_tool_use_id": "toolu_1"}),
    ]
    assert [message.parent_tool_use_id for message in conversation(outputs)] == [None, "toolu_1"]


def test_the_conversation_as_messages() -> None:
    said = {
        "type": "assistant",
        "message": {"content": [{"type": "text", "text": "hi"}, {"type": "tool_use", "id": "t"}]},
    }
    ran = {"type": "user", "message": {"content": [{"type": "tool_result", "tool_use_id": "t", "content": "out"}]}}
    messages = conversation(
        [
            output(1, "input", id="i", input="hello", by="key_1"),
            output(2, "state", state="active"),
            output(3, "message", message={"type": "system", "subtype": "init"}, input_id="i"),
            output(4, "message", message=said, input_id="i"),
            output(5, "message", message=ran, input_id="i"),
            output(6, "permission_requested", request_id="r", tool="Bash"),
            output(7, "permission_resolved", request_id="r", decision="allow", by="ada"),
            output(8, "message", message={"type": "user", "message": {"content": "reminder"}}, input_id=None),
            output(9, "message", message="garbage", input_id=None),
            output(10, "error", code="x", message="y"),
        ]
    )
    assert [(each.seq, each.role, each.sender) for each in messages] == [
        (1, "user", "key_1"),
        (4, "assistant", "claude"),
        (5, "tool", "t"),
        (6, "system", "claude"),
        (7, "user", "ada"),
        (8, "user", "claude"),
        (10, "system", "jelmore"),
    ]
    assert [each.text for each in messages][:2] == ["hello", "hi"]
    assert messages[1].blocks[1] == {"type": "tool_use", "id": "t"}
    assert messages[0].input_id == "i"


def test_the_conversation_of_any_agent_as_messages() -> None:
    raw = {"message": {"type": "assistant", "message": {"content": [{"type": "text", "text": "hi"}]}}, "input_id": "i"}
    about = {"input_id": "i", "parent_tool_use_id": None}
    messages = conversation(
        [
            output(1, "message", **raw, neutral=True),
            output(2, "said", role="assistant", thinking=False, text="hi", **about),
            output(3, "said", role="assistant", thinking=True, text="hm", **about),
            output(4, "tool_used", tool_use_id="t", tool="Bash", input={"command": "ls"}, **about),
            output(5, "tool_ended", tool_use_id="t", failed=True, output="out", truncated={"bytes": 9}, **about),
            output(6, "said", role="user", thinking=False, text="reminder", input_id=None, parent_tool_use_id="t"),
            output(7, "said"),
        ]
    )
    assert [(each.seq, each.role, each.sender, each.text, each.input_id) for each in messages] == [
        (2, "assistant", "claude", "hi", "i"),
        (3, "assistant", "claude", "", "i"),
        (4, "assistant", "claude", "", "i"),
        (5, "tool", "t", "", "i"),
        (6, "user", "claude", "reminder", None),
        (7, "assistant", "claude", "", None),
    ]
    result = {"type": "tool_result", "tool_use_id": "t", "content": "out", "is_error": True}
    assert messages[3].blocks == [{**result, "truncated": {"bytes": 9}}]
    assert messages[2].blocks == [{"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "ls"}}]
    assert messages[4].parent_tool_use_id == "t"
