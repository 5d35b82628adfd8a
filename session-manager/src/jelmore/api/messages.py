"""Converts stored output to the messages of the conversation, in order, with role and sender."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field

from jelmore.api.responses import UtcTime
from jelmore.session.output import Output, has_neutral_facts

KINDS = (
    *("input", "said", "tool_used", "tool_ended", "permission_requested", "question", "permission_resolved"),
    *("error", "interrupted", "rewound", "input_changed", "input_cancelled", "message"),
    *("conversation_started", "conversation_compacted", "setup_started", "setup_output", "setup_ended"),
)
"""The kinds of output that become messages. `message` only from an older runner, which journals no neutral facts."""


class MessageResponse(BaseModel):
    """A message of the conversation. `text` is its plain text, `blocks` its content.

    Input and output of a tool are cut beyond 64 KiB, then with `truncated: {bytes}`; the raw `message` has it all.
    """

    seq: int
    role: str = Field(description="user, assistant, tool or system.")
    sender: str = Field(description="Who: a user's name, `claude`, a tool's use, or `jelmore`.")
    at: UtcTime
    text: str
    blocks: list[dict[str, Any]]
    input_id: str | None
    parent_tool_use_id: str | None = Field(
        default=None, description="Of a sub-agent's message: the tool use that started it. Null for the main agent."
    )


def conversation(outputs: Iterable[Output]) -> list[MessageResponse]:
    """Return the messages in `outputs`. Output without content for a reader, such as bookkeeping, is skipped."""
    return [shown for output in outputs if (shown := _message(output)) is not None]


def _message(output: Output) -> MessageResponse | None:
    if output.kind == "message" and has_neutral_facts(output):
        return None
    data = output.data
    match output.kind:
        case "input":
            text = str(data.get("input") or "")
            content = data.get("content")
            blocks = [each for each in content if isinstance(each, dict)] if isinstance(content, list) else []
            by = str(data.get("by") or "user")
            return _shown(output, "user", by, blocks or [_text_block(text)], data.get("id"))
        case "said":
            return _said(output, data)
        case "tool_used":
            block = {"type": "tool_use", "id": data.get("tool_use_id"), "name": data.get("tool")}
            return _by_agent(output, data, "assistant", "claude", {**block, "input": data.get("input")})
        case "tool_ended":
            use = str(data.get("tool_use_id") or "tool")
            block = {"type": "tool_result", "tool_use_id": use, "content": data.get("output")}
            return _by_agent(output, data, "tool", use, {**block, "is_error": data.get("failed") is True})
        case "message":
            return _of_older_runner(output, data)
        case "permission_requested" | "question":
            return _shown(output, "system", "claude", [{"type": output.kind, **data}], None)
        case "permission_resolved":
            return _shown(output, "user", str(data.get("by") or "user"), [{"type": output.kind, **data}], None)
        case "input_changed" | "input_cancelled":
            block = {"type": output.kind, **data}
            return _shown(output, "user", str(data.get("by") or "user"), [block], data.get("id"))
        case "rewound":
            by = str(data.get("by") or "user")
            return _shown(output, "user", by, [{"type": output.kind, **data}], None)
        case "setup_started" | "setup_output" | "setup_ended":
            return _shown(output, "system", "jelmore", [{"type": output.kind, **data}], None)
        case "error" | "interrupted" | "conversation_started" | "conversation_compacted":
            return _shown(output, "system", "jelmore", [{"type": output.kind, **data}], data.get("input_id"))
        case _:
            return None


def _said(output: Output, data: dict[str, Any]) -> MessageResponse:
    role = "user" if data.get("role") == "user" else "assistant"
    text = str(data.get("text") or "")
    block = {"type": "thinking", "thinking": text} if data.get("thinking") else _text_block(text)
    return _by_agent(output, data, role, "claude", block)


def _by_agent(output: Output, data: dict[str, Any], role: str, sender: str, block: dict[str, Any]) -> MessageResponse:
    if "truncated" in data:
        block = {**block, "truncated": data["truncated"]}
    return _shown(output, role, sender, [block], data.get("input_id"), data.get("parent_tool_use_id"))


def _of_older_runner(output: Output, data: dict[str, Any]) -> MessageResponse | None:
    message = data.get("message")
    if not isinstance(message, dict) or message.get("type") not in {"assistant", "user"}:
        return None  # internal messages of Claude Code: system, result
    inner = message.get("message")
    content = inner.get("content") if isinstance(inner, dict) else None
    blocks = _blocks(content)
    if not blocks:
        return None
    input_id = data.get("input_id")
    parent = message.get("parent_tool_use_id")
    if message["type"] == "assistant":
        return _shown(output, "assistant", "claude", blocks, input_id, parent)
    if all(block.get("type") == "tool_result" for block in blocks):
        return _shown(output, "tool", str(blocks[0].get("tool_use_id") or "tool"), blocks, input_id, parent)
    return _shown(
        output, "user", "claude", blocks, input_id, parent
    )  # text that Claude Code itself added to the conversation


def _blocks(content: object) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [_text_block(content)] if content else []
    if isinstance(content, list):
        return [block for block in content if isinstance(block, dict)]
    return []


def _text_block(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _shown(
    output: Output,
    role: str,
    sender: str,
    blocks: list[dict[str, Any]],
    input_id: object,
    parent_tool_use_id: object = None,
) -> MessageResponse:
    texts = [str(block["text"]) for block in blocks if block.get("type") == "text" and "text" in block]
    return MessageResponse(
        seq=output.seq,
        role=role,
        sender=sender,
        at=output.at,
        text="\n".join(texts),
        blocks=blocks,
        input_id=input_id if isinstance(input_id, str) else None,
        parent_tool_use_id=parent_tool_use_id if isinstance(parent_tool_use_id, str) else None,
    )
