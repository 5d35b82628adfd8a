"""What the bridges to other protocols decide without I/O."""

import json
from typing import Any

import httpx
import pytest
from acp import helpers
from acp.schema import AudioContentBlock

from jelmore_client import AsyncJelmore, Event, Pending
from jelmore_client.bridges import acp_updates
from jelmore_client.bridges.mcp import Tools, overview_of
from jelmore_client.cli.blocks import blocks_of
from jelmore_client.models import SessionInfo, TurnResult

AT = "2026-01-31T12:00:00.000Z"


def updates(kind: str, *, replay: bool = False, **data: Any) -> list[dict[str, Any]]:
    event = Event.model_validate({"seq": 1, "kind": kind, "at": AT, "data": data})
    found = acp_updates.updates_of(event, replay=replay)
    return [each.model_dump(by_alias=True, exclude_none=True, mode="json") for each in found]


def test_what_the_agent_says_and_thinks_are_chunks() -> None:
    (said,) = updates("said", role="assistant", text="yes")
    assert (said["sessionUpdate"], said["content"]["text"]) == ("agent_message_chunk", "yes")
    (thought,) = updates("said", role="assistant", text="hm", thinking=True)
    assert thought["sessionUpdate"] == "agent_thought_chunk"
    assert updates("said", role="user", text="yes") == []
    assert updates("something new") == []


def pieces(*events: tuple[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Return the chunks that an editor gets of deltas and whole messages."""
    writing = acp_updates.Writing()
    found = []
    for kind, data in events:
        event = Event.model_validate({"seq": 1, "kind": kind, "at": AT, "data": data})
        for update in acp_updates.updates_of(event, writing=writing):
            shown = update.model_dump(by_alias=True, exclude_none=True, mode="json")
            found.append((shown["sessionUpdate"].split("_")[1], shown["content"]["text"]))
    return found


def delta(text: str, kind: str = "text", **more: Any) -> tuple[str, dict[str, Any]]:
    return "delta", {"event": {"type": "content_block_delta", "delta": {"type": f"{kind}_delta", kind: text}}, **more}


def whole(text: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "said", {"role": "assistant", "text": text, **more}


def test_a_message_is_sent_as_it_is_written_and_once() -> None:
    assert pieces(delta("Hel"), delta("lo"), whole("Hello")) == [("message", "Hel"), ("message", "lo")]
    assert pieces(delta("Hel"), whole("Hello"), whole("again")) == [
        ("message", "Hel"),
        ("message", "lo"),
        ("message", "again"),
    ]
    assert pieces(delta("one"), delta("two"), whole("one"), whole("two")) == [("message", "one"), ("message", "two")]
    assert pieces(delta("hm", "thinking"), delta("yes"), whole("hm", thinking=True), whole("yes")) == [
        ("thought", "hm"),
        ("message", "yes"),
    ]


def test_a_lost_piece_loses_no_text() -> None:
    assert pieces(delta("Hel"), delta("!"), whole("Hello!")) == [
        ("message", "Hel"),
        ("message", "!"),
        ("message", "\n\nHello!"),
    ]
    assert pieces(whole("Hello!")) == [("message", "Hello!")]


def test_pieces_of_a_sub_agent_are_not_mixed_into_the_message() -> None:
    of_another: dict[str, Any] = {"parent_tool_use_id": "t1"}
    assert pieces(delta("mi"), delta("x", **of_another), whole("x", **of_another), delta("ne"), whole("mine")) == [
        ("message", "mi"),
        ("message", "x"),
        ("message", "ne"),
    ]
    assert pieces(("delta", {"event": {"type": "message_stop"}}), ("delta", {})) == []


def test_the_prompt_is_sent_only_when_a_conversation_is_loaded() -> None:
    assert updates("input", input="hi") == []
    (said,) = updates("input", input="hi", replay=True)
    assert said["sessionUpdate"] == "user_message_chunk"


def test_a_tool_begins_with_its_edit_and_ends_with_its_output() -> None:
    given = {"file_path": "/w/a.py", "old_string": "a", "new_string": "b"}
    (start,) = updates("tool_used", tool="Edit", tool_use_id="t1", input=given)
    assert (start["toolCallId"], start["kind"], start["title"]) == ("t1", "edit", "Edit /w/a.py")
    assert start["content"] == [{"type": "diff", "path": "/w/a.py", "oldText": "a", "newText": "b"}]
    assert start["locations"] == [{"path": "/w/a.py"}]
    (end,) = updates("tool_ended", tool_use_id="t1", output="no such file", failed=True)
    assert (end["toolCallId"], end["status"]) == ("t1", "failed")
    assert end["content"][0]["content"]["text"] == "no such file"


def test_the_agents_list_of_tasks_is_a_plan() -> None:
    todos = [{"content": "read", "status": "completed"}, {"content": "write", "status": "unknown"}]
    (plan,) = updates("tool_used", tool="TodoWrite", tool_use_id="t1", input={"todos": todos})
    assert [(each["content"], each["status"]) for each in plan["entries"]] == [
        ("read", "completed"),
        ("write", "pending"),
    ]


def test_a_prompt_becomes_content_blocks() -> None:
    blocks = acp_updates.blocks_of_prompt(
        [
            helpers.text_block("look"),
            helpers.image_block("aGk=", "image/png"),
            helpers.resource_block(helpers.embedded_text_resource("file:///a.py", "x = 1")),
            helpers.resource_link_block("b.py", "file:///b.py"),
        ]
    )
    assert [each["type"] for each in blocks] == ["text", "image", "text", "text"]
    assert blocks[1]["source"] == {"type": "base64", "media_type": "image/png", "data": "aGk="}
    assert "x = 1" in blocks[2]["text"]
    with pytest.raises(ValueError, match="audio"):
        acp_updates.blocks_of_prompt([AudioContentBlock(type="audio", data="", mime_type="audio/wav")])


@pytest.mark.parametrize(
    ("media_type", "kind"), [("application/pdf", "document"), ("image/png", "image"), ("application/zip", None)]
)
def test_an_embedded_file_that_is_no_text_is_an_image_or_a_pdf_or_refused(media_type: str, kind: str | None) -> None:
    block = helpers.resource_block(helpers.embedded_blob_resource("file:///a", "aGk=", mime_type=media_type))
    if kind is None:
        with pytest.raises(ValueError, match=r"application/zip.*jelmore cp"):
            acp_updates.blocks_of_prompt([block])
        return
    (found,) = acp_updates.blocks_of_prompt([block])
    assert found == {"type": kind, "source": {"type": "base64", "media_type": media_type, "data": "aGk="}}


@pytest.mark.parametrize(
    ("option", "decision", "remember"),
    [
        (acp_updates.ALLOW, "allow", None),
        (acp_updates.ALWAYS, "allow", "session"),
        (acp_updates.DENY, "deny", None),
    ],
)
def test_the_choice_in_the_editor_is_the_answer(option: str, decision: str, remember: str | None) -> None:
    answer = acp_updates.answer_of(option)
    assert (answer.decision, answer.remember) == (decision, remember)


def test_why_a_turn_stopped() -> None:
    def result(outcome: str, subtype: str | None = None) -> TurnResult:
        return TurnResult(input_id="i", outcome=outcome, subtype=subtype)

    assert acp_updates.stop_reason(result("completed"), cancelled=False) == "end_turn"
    assert acp_updates.stop_reason(result("failed"), cancelled=True) == "cancelled"
    assert acp_updates.stop_reason(result("failed", "error_max_turns"), cancelled=False) == "max_turn_requests"
    assert acp_updates.stop_reason(result("failed", "error"), cancelled=False) is None


def test_questions_have_their_options() -> None:
    part = {"question": "Which?", "options": [{"label": "red"}, {"label": "blue"}]}
    pending = Pending(request_id="r", waiting_for="question", input={"questions": [part]})
    assert acp_updates.parts_of(pending) == [part]
    assert [each.name for each in acp_updates.options_of(part)] == ["red", "blue"]
    assert acp_updates.parts_of(pending.model_copy(update={"waiting_for": "permission"})) == []


def test_an_interrupted_turn_has_a_result_without_text() -> None:
    result = TurnResult.model_validate({"input_id": "i", "outcome": "failed", "subtype": "interrupted", "text": None})
    assert (result.text, result.ok) == ("", False)


def test_a_turn_that_failed_says_why_and_never_success() -> None:
    def failure(**fields: Any) -> str | None:
        return TurnResult.model_validate({"input_id": "i", "outcome": "failed", **fields}).failure

    assert failure(subtype="error_max_turns", text="x") == "error_max_turns"
    assert failure(subtype="success", text="API Error: 500\nmore") == "API Error: 500"
    assert failure() == "no reason was given"
    assert failure(outcome="completed", subtype="success") is None
    event = Event.model_validate(
        {"seq": 1, "kind": "turn_ended", "at": AT, "data": {"outcome": "failed", "subtype": "success"}}
    )
    assert [block.text for block in blocks_of(event)] == ["failed"]


def test_an_overview_names_what_the_session_asks() -> None:
    pending = Pending(request_id="r", waiting_for="permission", tool="Bash", title="Bash: ls", input={"command": "ls"})
    overview = overview_of(SessionInfo(id="s", status="waiting_input", waiting_for="permission"), [pending])
    assert overview.asks[0].input == {"command": "ls"}


@pytest.mark.parametrize(("asked", "found"), [(None, "new"), ("new", "new"), ("old", "old")])
async def test_a_prompt_that_wakes_a_session_is_the_newest_turn_before_it_is_a_message(
    asked: str | None, found: str
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        match request.url.path.rpartition("/")[2]:
            case "queue":
                return httpx.Response(200, json={"inputs": [{"input_id": "new", "input": "go", "by": "key", "seq": 9}]})
            case "messages":
                message = {"seq": 3, "role": "user", "text": "go", "input_id": "old", "at": AT}
                return httpx.Response(200, json=[message])
            case _:
                return httpx.Response(200, json={"id": "s", "status": "idle"})

    async with AsyncJelmore("http://test", api_key="key") as client:
        client._http = httpx.AsyncClient(base_url=client.url, transport=httpx.MockTransport(answer))
        assert (await Tools(client).wait_for_turn("s", asked, wait_s=0)).input_id == found


async def test_a_tool_whose_input_has_questions_is_allowed_as_any_other() -> None:
    tool = {
        "request_id": "r",
        "waiting_for": "permission",
        "tool": "mcp__survey",
        "input": {"questions": [{"question": "?"}]},
    }
    sent: list[Any] = []

    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            sent.append(json.loads(request.content)["decision"])
            return httpx.Response(200, json={})
        is_list = request.url.path.endswith("/permissions")
        return httpx.Response(200, json={"pending": [tool]} if is_list else {"id": "s", "status": "waiting_input"})

    async with AsyncJelmore("http://test", api_key="key") as client:
        client._http = httpx.AsyncClient(base_url=client.url, transport=httpx.MockTransport(answer))
        await Tools(client).answer_request("s", "r", "allow")
    assert sent == ["allow"]
