"""The neutral facts journaled beside each message of Claude Code."""

from typing import Any

import pytest
from claude_agent_sdk import AssistantMessage, TextBlock, ThinkingBlock, ToolResultBlock, ToolUseBlock, UserMessage

from jelmore_protocol.events import EventKind
from jelmore_runner.agents.claude.messages import message_json, neutral_facts
from jelmore_runner.neutral_facts import MAX_TOOL_BYTES, Said, ToolEnded, ToolUsed, entry_of


def test_each_block_of_a_message_is_a_fact() -> None:
    tool = ToolUseBlock("t1", "Bash", {"command": "ls"})
    body = message_json(
        AssistantMessage(content=[ThinkingBlock("hm", "signature"), TextBlock("hello"), tool], model="m")
    )
    assert neutral_facts(body) == [Said("hm", thinking=True), Said("hello"), ToolUsed("t1", "Bash", {"command": "ls"})]


def test_the_result_of_a_tool_is_text() -> None:
    content: list[dict[str, Any]] = [{"type": "text", "text": "one"}, {"type": "image", "source": {}}]
    body = message_json(UserMessage(content=[ToolResultBlock("t1", content, is_error=True)]))
    assert neutral_facts(body) == [ToolEnded("t1", "one\n[image]", failed=True)]
    assert neutral_facts(message_json(UserMessage(content="a reminder"))) == [Said("a reminder", "user")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"type": "system", "subtype": "init"},
        {"type": "assistant"},
        {"type": "assistant", "message": "x"},
        {"type": "assistant", "message": {"content": 5}},
        {"type": "assistant", "message": {"content": [5, None, {"type": "text"}, {"type": "text", "text": 5}]}},
    ],
)
def test_what_has_no_content_has_no_facts(body: dict[str, Any]) -> None:
    assert neutral_facts(body) == []


def test_a_large_tool_use_is_cut_and_says_so() -> None:
    large = "x" * (MAX_TOOL_BYTES * 2)
    kind, used = entry_of(ToolUsed("t1", "Write", {"file_path": "a", "content": large}), "i", "parent")
    assert (kind, used["input"]["file_path"], used["parent_tool_use_id"]) == (EventKind.TOOL_USED, "a", "parent")
    assert used["input"]["truncated"]["bytes"] > len(large)
    _, ended = entry_of(ToolEnded("t1", large), None, None)
    assert len(ended["output"]) < MAX_TOOL_BYTES
    assert ended["truncated"]["bytes"] > len(large)
