"""A request of the agent for a permission or an answer: what it asks, and which answers fit it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from jelmore_protocol.control import EgressAsk, PermissionAnswer
from jelmore_protocol.events import EventKind, Pending, Preview, WaitingFor
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.permissions import PermissionUpdate, RulesUpdate, for_session
from jelmore_runner.errors import RefusedError
from jelmore_runner.journal import Entry
from jelmore_runner.output_budget import OUTLINE_BYTES
from jelmore_runner.requested_forms import problem_of
from jelmore_runner.serialize import cut, plain

if TYPE_CHECKING:
    import asyncio

EGRESS: Final = "Network"
"""The tool of a request about a connection to another host, which the gateway holds."""

ELICITATION: Final = "Elicitation"
"""The tool of a request by which an MCP server asks the user."""

MAX_SHOWN_BYTES: Final = 2 * 1024 * 1024
"""The bound of the inputs of all requests in one frame or answer."""

_UPDATE: TypeAdapter[PermissionUpdate] = TypeAdapter(PermissionUpdate)


@dataclass(frozen=True, slots=True)
class Question:
    """A request of the agent for a permission or an answer."""

    tool: str
    input: dict[str, Any]
    title: str
    suggestions: list[dict[str, Any]]
    tool_use_id: str | None = None
    agent_id: str | None = None  # of the subagent that asks, if any
    preview: Preview | None = None
    reason: str | None = None

    @property
    def kind(self) -> WaitingFor:
        """Whether it asks for a permission, for an answer or about a connection."""
        if self.tool == EGRESS:
            return WaitingFor.EGRESS
        return WaitingFor.QUESTION if self.tool in {"AskUserQuestion", ELICITATION} else WaitingFor.PERMISSION

    def pending(self, expires_at: datetime | None, *, request_id: str | None = None) -> Pending:
        """Return the request under a new id or the given one, as it is journaled."""
        return Pending(
            request_id=request_id or str(uuid4()),
            waiting_for=self.kind,
            tool=plain(self.tool),  # any text may end with half of a character, which has no form as JSON
            title=plain(self.title),
            input=plain(self.input),
            suggestions=plain(self.suggestions),
            tool_use_id=plain(self.tool_use_id),
            agent_id=plain(self.agent_id),
            preview=None if self.preview is None else Preview.model_validate(plain(self.preview.model_dump())),
            reason=plain(self.reason),
            expires_at=expires_at,
        )

    def check(self, answer: PermissionAnswer) -> None:
        """Raise RefusedError for an answer that does not fit: Claude Code would then reject all answers."""
        if self.tool == ELICITATION:
            self._check_form(answer)
            return
        asked = self.input.get("questions")
        if answer.decision != "allow" or answer.answers is None or not isinstance(asked, list):
            return
        many = {str(each.get("question")): bool(each.get("multiSelect")) for each in asked if isinstance(each, dict)}
        for text, chosen in answer.answers.items():
            if text not in many:
                raise _bad(f"answers: {text[:200]!r} is not a question that was asked")
            if isinstance(chosen, list) and not many[text]:
                raise _bad(f"answers: {text[:200]!r} takes one answer, not a list")

    def _check_form(self, answer: PermissionAnswer) -> None:
        """Raise RefusedError for content that the server did not ask for, and for what it would not get."""
        if answer.decision != "allow":
            return
        given = {
            "answers": answer.answers,
            "message": answer.message,
            "updated_permissions": answer.updated_permissions,
        }
        for name, value in given.items():
            if value:
                raise _bad(f"{name}: an MCP server asks for a form; send its content in updated_input")
        if problem := problem_of(self.input, answer.updated_input or {}):
            raise _bad(problem)

    def updates(self, answer: PermissionAnswer) -> list[dict[str, Any]]:
        """Return the permission updates that the answer applies, for this session. Raises RefusedError without any.

        `remember: session` takes the suggested rules. Claude Code also suggests directories and a mode beside them,
        which allow more than what was asked: they count only when no rule is suggested.
        """
        if answer.updated_permissions is not None:
            return [for_session(update) for update in answer.updated_permissions]
        if answer.remember != "session":
            return []
        suggested = [update for each in self.suggestions if (update := _readable(each)) is not None]
        rules: list[PermissionUpdate] = [update for update in suggested if isinstance(update, RulesUpdate)]
        if not suggested:
            raise _bad("remember: this request has no suggestions; say what to remember in updated_permissions")
        return [for_session(update) for update in rules or suggested]


@dataclass(slots=True)
class Waiter:
    """A pending request, and the future that its answer resolves."""

    question: Question
    answered: "asyncio.Future[tuple[PermissionAnswer, int]]"


def egress_question(asked: EgressAsk) -> Question:
    """Return the request about a connection that the gateway holds."""
    target = {"host": asked.host, "port": asked.port, "method": asked.method}
    host = f"[{asked.host}]" if ":" in asked.host else asked.host
    return Question(EGRESS, target, f"Connect to {host}:{asked.port}", [])


def check_modes(updates: list[dict[str, Any]], modes: list[str] | None) -> None:
    """Raise RefusedError for an update that sets a mode which the session's profile does not allow."""
    for update in updates:
        if modes is not None and update["type"] == "setMode" and update["mode"] not in modes:
            raise _bad(f"updated_permissions: the mode {update['mode']} is above the profile's ceiling")


def resolved(request_id: str, decision: str, by: str, **more: Any) -> Entry:
    """Return the journal entry of an answered, withdrawn or expired request."""
    return EventKind.PERMISSION_RESOLVED, {"request_id": request_id, "decision": decision, "by": by, **more}


def answered(request_id: str, answer: PermissionAnswer, updates: list[dict[str, Any]]) -> Entry:
    """Return the journal entry of an answer, with what it changed."""
    given = answer.model_dump(mode="json", exclude_unset=True, include={"message", "answers", "remember", "interrupt"})
    if updates:
        given["updated_permissions"] = updates
    if answer.updated_input is not None:
        given["updated_input"] = plain(answer.updated_input)
    return resolved(request_id, answer.decision, answer.by, **given)


def within_bounds(pending: Iterable[Pending]) -> list[Pending]:
    """Return the requests with their inputs, of the first ones up to `MAX_SHOWN_BYTES` in all; later inputs are cut.

    A cut input has the mark `truncated`. The event of the request has all of it.
    """
    shown, left = [], MAX_SHOWN_BYTES
    for each in pending:
        size = len(each.model_dump_json())
        if size > left:
            each = each.model_copy(update={"input": cut(each.input, OUTLINE_BYTES), "suggestions": []})  # noqa: PLW2901
        else:
            left -= size
        shown.append(each)
    return shown


def _readable(suggestion: dict[str, Any]) -> PermissionUpdate | None:
    try:
        return _UPDATE.validate_python(suggestion)
    except ValidationError:
        return None  # of a newer Claude Code


def _bad(message: str) -> RefusedError:
    return RefusedError(ErrorCode.BAD_FRAME, message)
