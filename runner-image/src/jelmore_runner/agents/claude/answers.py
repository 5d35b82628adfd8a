"""Turns the SDK's permission callbacks into pending requests of the conversation."""

from typing import TYPE_CHECKING, Any

from jelmore_protocol.control import PermissionAnswer
from jelmore_runner.conversation import Conversation, Question

if TYPE_CHECKING:
    from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny, ToolPermissionContext


class Asker:
    """The `can_use_tool` callback. It waits for an answer without a deadline."""

    def __init__(self, session: Conversation) -> None:
        self._session = session

    async def __call__(
        self, tool: str, tool_input: dict[str, Any], context: "ToolPermissionContext"
    ) -> "PermissionResultAllow | PermissionResultDeny":
        """Return the decision of the first answer."""
        question = Question(
            tool,
            tool_input,
            _title(tool, tool_input, context),
            _suggestions(context),
            tool_use_id=context.tool_use_id,
            agent_id=context.agent_id,
        )
        return _result(tool_input, await self._session.ask(question))


def _result(tool_input: dict[str, Any], answer: PermissionAnswer) -> "PermissionResultAllow | PermissionResultDeny":
    from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny

    if answer.decision == "deny":
        return PermissionResultDeny(message=answer.message or "The user said no.")
    changed = answer.updated_input
    if answer.answers is not None:
        changed = {**(changed if changed is not None else tool_input), "answers": answer.answers}
    return PermissionResultAllow(updated_input=changed)


def _title(tool: str, tool_input: dict[str, Any], context: "ToolPermissionContext") -> str:
    questions = tool_input.get("questions")
    if tool == "AskUserQuestion" and isinstance(questions, list) and questions:
        return str(questions[0].get("question", tool) if isinstance(questions[0], dict) else tool)
    name = context.display_name or tool
    return context.title or (f"{name}: {context.description}" if context.description else name)


def _suggestions(context: "ToolPermissionContext") -> list[dict[str, Any]]:
    suggestions = []
    for suggestion in context.suggestions:
        try:
            suggestions.append(dict(suggestion.to_dict()))
        except (ValueError, TypeError):
            continue
    return suggestions
