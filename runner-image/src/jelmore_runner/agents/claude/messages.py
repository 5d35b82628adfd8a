"""Converts Claude Code's messages to JSON in its own stream-json form, and to neutral facts for the conversation."""

from collections.abc import Mapping
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

from jelmore_runner.conversation import Conversation
from jelmore_runner.serialize import encode, fields_of
from jelmore_runner.turn_result import TurnResult

_BLOCK_TYPES: Final = {
    "TextBlock": "text",
    "ThinkingBlock": "thinking",
    "ToolUseBlock": "tool_use",
    "ToolResultBlock": "tool_result",
    "ServerToolUseBlock": "server_tool_use",
    "ServerToolResultBlock": "advisor_tool_result",
}


def prompt_uuid(input_id: str) -> str:
    """Return the UUID that Claude Code gets for an input: the input's id if it is a UUID, else one derived from it."""
    try:
        return str(UUID(input_id))
    except ValueError:
        return str(uuid5(NAMESPACE_URL, f"jelmore:input:{input_id}"))


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
        if body.get("type") == "system":
            session.permission_mode_is(body.get("permissionMode"))
        session.said(body)

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


def turn_result(result: Mapping[str, Any]) -> TurnResult:
    """Convert a result message. The cost in it is the running total of the Claude Code process, in US dollars."""
    subtype = result.get("subtype")
    return TurnResult(
        failed=bool(result.get("is_error")) or str(subtype or "").startswith("error"),
        subtype=subtype,
        text=result.get("result"),
        usage=result.get("usage"),
        process_cost_usd=result.get("total_cost_usd"),
        num_turns=result.get("num_turns"),
        duration_ms=result.get("duration_ms"),
    )


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
