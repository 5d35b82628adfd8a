"""Converts Claude Code's messages to JSON in its own stream-json form, and to neutral facts for the conversation."""

from collections.abc import Mapping
from itertools import islice
from typing import Any, Final, Literal

from jelmore_protocol.transcripts import prompt_uuid
from jelmore_runner.conversation import Conversation
from jelmore_runner.neutral_facts import NeutralFact, Said, ToolEnded, ToolUsed
from jelmore_runner.serialize import encode, fields_of, plain
from jelmore_runner.spending import models_of
from jelmore_runner.turn_result import TurnResult

MAX_ERRORS: Final = 20
MAX_ERROR_CHARACTERS: Final = 4096
MAX_TOKENS: Final = 2**53
_BLOCK_TYPES: Final = {
    "TextBlock": "text",
    "ThinkingBlock": "thinking",
    "ToolUseBlock": "tool_use",
    "ToolResultBlock": "tool_result",
    "ServerToolUseBlock": "server_tool_use",
    "ServerToolResultBlock": "advisor_tool_result",
}


class Translator:
    """Reports Claude Code's messages to the conversation."""

    def __init__(self, session: Conversation) -> None:
        self._session = session

    def take(self, message: object) -> None:
        """Report one SDK message: as a delta, a change of state, a result, or a message to journal."""
        session = self._session
        named = self._names_running(message)
        if named:
            session.turn_began(names_running=True)
        if type(message).__name__ == "StreamEvent":
            session.delta(lambda input_id: delta_json(message, input_id))
            return
        body = message_json(message)
        subtype = body.get("subtype")
        if subtype == "session_state_changed":
            session.agent_reported(busy=body.get("state") != "idle")
            return
        if subtype == "background_tasks_changed":
            tasks = body.get("tasks")  # the complete list of running tasks, so no count is kept here
            session.background_changed(len(tasks) if isinstance(tasks, list) else 0)
        if body.get("type") == "result":
            session.turn_result(body, turn_result(body))
            return
        if subtype == "init":
            session.turn_began(names_running=named)
            session.conversation_is(body.get("session_id"))
        if subtype == "compact_boundary":
            session.conversation_compacted(*_compaction(body))
        if body.get("type") == "system":
            session.permission_mode_is(body.get("permissionMode"))
        session.said(body, *neutral_facts(body), parent=body.get("parent_tool_use_id"))

    def _names_running(self, message: object) -> bool:
        """Return whether the message names the running input as part of the current turn."""
        running = self._session.turn.running
        if running is None:
            return False
        data = getattr(message, "data", None)
        fields: Mapping[str, Any] = data if isinstance(data, Mapping) else {}
        uuids = getattr(message, "user_message_uuids", None) or fields.get("user_message_uuids") or ()
        last = getattr(message, "user_message_uuid", None) or fields.get("user_message_uuid")
        return prompt_uuid(running) in (*uuids, last)


def _compaction(body: Mapping[str, Any]) -> tuple[str, int | None]:
    """Return who asked for a summary, and how many tokens the conversation had before it."""
    metadata = body.get("compact_metadata")
    found = metadata if isinstance(metadata, Mapping) else {}
    tokens = found.get("pre_tokens")
    known = isinstance(tokens, int) and not isinstance(tokens, bool) and 0 <= tokens < MAX_TOKENS
    return "manual" if found.get("trigger") == "manual" else "auto", tokens if known else None


def turn_result(result: Mapping[str, Any]) -> TurnResult:
    """Convert a result message. The cost in it is the running total of the Claude Code process, in US dollars."""
    subtype = result.get("subtype")
    return TurnResult(
        failed=bool(result.get("is_error")) or str(subtype or "").startswith("error"),
        subtype=subtype,
        text=result.get("result"),
        errors=tuple(str(error)[:MAX_ERROR_CHARACTERS] for error in islice(_items(result.get("errors")), MAX_ERRORS)),
        usage=result.get("usage"),
        process_cost_usd=result.get("total_cost_usd"),
        process_models=models_of(_neutral_usage(result.get("modelUsage"))),
        num_turns=result.get("num_turns"),
        duration_ms=result.get("duration_ms"),
        structured_output=result.get("structured_output"),
    )


_USAGE_FIELDS: Final = {
    "inputTokens": "input_tokens",
    "outputTokens": "output_tokens",
    "cacheReadInputTokens": "cache_read_tokens",
    "cacheCreationInputTokens": "cache_write_tokens",
    "costUSD": "cost_usd",
}


def _neutral_usage(models: object) -> dict[str, dict[str, Any]]:
    """Return `modelUsage` with the neutral names of its fields."""
    usages = models if isinstance(models, Mapping) else {}
    return {
        str(name): {ours: usage.get(theirs) for theirs, ours in _USAGE_FIELDS.items()}
        for name, usage in usages.items()
        if isinstance(usage, Mapping)
    }


def _items(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def neutral_facts(body: Mapping[str, Any]) -> list[NeutralFact]:
    """Convert the content of an assistant or user message; other messages have none. Never raises."""
    role = body.get("type")
    inner = body.get("message")
    if role not in ("assistant", "user") or not isinstance(inner, Mapping):
        return []
    content = inner.get("content")
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) else content
    found = [_fact(block, role) for block in blocks if isinstance(block, Mapping)] if isinstance(blocks, list) else []
    return [fact for fact in found if fact is not None]


def _fact(block: Mapping[str, Any], role: Literal["assistant", "user"]) -> NeutralFact | None:
    match block.get("type"):
        case "text" | "thinking" as kind:
            text = block.get(kind)
            return Said(text, role, thinking=kind == "thinking") if isinstance(text, str) and text else None
        case "tool_use" | "server_tool_use":
            given = block.get("input")
            fields = plain(given) if isinstance(given, Mapping) else {}
            return ToolUsed(str(block.get("id") or ""), str(block.get("name") or ""), fields)
        case "tool_result" | "advisor_tool_result":
            output = _output_text(block.get("content"))
            return ToolEnded(str(block.get("tool_use_id") or ""), output, failed=block.get("is_error") is True)
        case _:
            return None


def _output_text(content: object) -> str:
    """Return the text of a tool's result. Parts that are not text, such as images, become `[their type]`."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [part if isinstance(part, Mapping) else {"type": "text", "text": part} for part in content]
        return "\n".join(
            str(part.get("text")) if part.get("type") == "text" else f"[{part.get('type')}]" for part in parts
        )
    return "" if content is None else encode(content)


def message_json(message: object) -> dict[str, Any]:
    """Return an SDK message as the stream-json object that it was parsed from. Never raises."""
    name = type(message).__name__
    raw = getattr(message, "data", None)
    if isinstance(raw, Mapping) and raw.get("type"):
        return dict(raw)  # system messages carry the original object
    fields = fields_of(message)
    match name:
        case "AssistantMessage":
            return _assistant(fields)
        case "UserMessage":
            return _user(fields)
        case "ResultMessage":
            usage = fields.pop("model_usage", None)
            return _present({"type": "result", **fields, "modelUsage": usage})
        case "RateLimitEvent":
            info = fields.get("rate_limit_info")
            return {"type": "rate_limit_event", **fields, "rate_limit_info": getattr(info, "raw", info)}
        case "ConversationResetMessage":
            return {"type": "conversation_reset", **fields}
        case _:
            return {"type": "unknown", "name": name, **fields}


def delta_json(message: object, input_id: str | None) -> str:
    """Return the `delta` frame of a partial message."""
    data = {
        "event": getattr(message, "event", {}),
        "parent_tool_use_id": getattr(message, "parent_tool_use_id", None),
        "input_id": input_id,
    }
    return encode({"type": "delta", "data": data})


def _assistant(fields: dict[str, Any]) -> dict[str, Any]:
    inner = {
        "role": "assistant",
        "id": fields.pop("message_id", None),
        "model": fields.pop("model", None),
        "content": _content(fields.pop("content", [])),
        "stop_reason": fields.pop("stop_reason", None),
        "usage": fields.pop("usage", None),
    }
    parent = fields.pop("parent_tool_use_id", None)
    return {"type": "assistant", "message": inner, "parent_tool_use_id": parent, **_present(fields)}


def _user(fields: dict[str, Any]) -> dict[str, Any]:
    inner = {"role": "user", "content": _content(fields.pop("content", []))}
    parent = fields.pop("parent_tool_use_id", None)
    return {"type": "user", "message": inner, "parent_tool_use_id": parent, **_present(fields)}


def _content(content: object) -> object:
    if not isinstance(content, list):
        return content
    return [_block(block) for block in content]


def _block(block: object) -> object:
    kind = _BLOCK_TYPES.get(type(block).__name__)
    return {"type": kind, **fields_of(block)} if kind else block


def _present(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
