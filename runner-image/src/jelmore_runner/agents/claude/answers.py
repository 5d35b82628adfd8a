"""Turns the SDK's permission callbacks into pending requests of the conversation."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol.control import PermissionAnswer
from jelmore_runner.conversation import Conversation
from jelmore_runner.pending_requests import Question
from jelmore_runner.previews import preview_of

if TYPE_CHECKING:
    from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny, ToolPermissionContext


MAX_REASON: Final = 1024


class Asker:
    """The `can_use_tool` callback. Waits for an answer, without a deadline unless the session has one."""

    def __init__(self, session: Conversation, folders: Sequence[Path]) -> None:
        """`folders` are those whose files a preview may show."""
        self._session = session
        self._folders = folders

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
            preview=await asyncio.to_thread(preview_of, tool, tool_input, self._folders),
            reason=context.decision_reason[:MAX_REASON] if context.decision_reason else None,
        )
        return _result(question, await self._session.requests.ask(question))


def _result(question: Question, answer: PermissionAnswer) -> "PermissionResultAllow | PermissionResultDeny":
    from claude_agent_sdk import PermissionResultAllow, PermissionResultDeny
    from claude_agent_sdk.types import PermissionUpdate

    if answer.decision == "deny":
        return PermissionResultDeny(message=answer.message or "The user said no.", interrupt=answer.interrupt)
    changed = answer.updated_input
    if extra := _answers(question, answer):
        changed = {**(changed if changed is not None else question.input), **extra}
    updates = [PermissionUpdate.from_dict(update) for update in question.updates(answer)]
    return PermissionResultAllow(updated_input=changed, updated_permissions=updates or None)


def _answers(question: Question, answer: PermissionAnswer) -> dict[str, Any]:
    """Return what an answer to questions adds to the tool's input, in Claude Code's form: lists joined by commas."""
    extra: dict[str, Any] = {}
    if answer.answers is not None:
        given = answer.answers.items()
        extra["answers"] = {text: chosen if isinstance(chosen, str) else ", ".join(chosen) for text, chosen in given}
    if answer.message and question.tool == "AskUserQuestion":
        extra["response"] = answer.message
    return extra


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
