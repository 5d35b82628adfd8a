"""A session's numbered output: what the runner journals and every store and subscriber holds."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json


class EventKind(StrEnum):
    """What a journal entry is about.

    Every accepted input ends exactly once: by the `message` of its result (`message.type` is `result` and `input_id`
    names it; a user's interrupt ends this way too), or by `interrupted`. One never handed to Claude Code stays queued.
    A `message` is as in Claude Code's stream-json; its `input_id` is the input it belongs to, or null.
    """

    # one message of Claude Code: {message, input_id}; a result with `turn_ended: true` is followed by that event
    MESSAGE = "message"
    # neutral form of a result: {input_id, outcome: completed | failed, subtype, text, usage, cost_usd, total_cost_usd,
    # num_turns, duration_ms}; `cost_usd` is of this turn, `total_cost_usd` of the session over all its processes
    TURN_ENDED = "turn_ended"
    INPUT = "input"  # a prompt was accepted: {id, input, by}
    STATE = "state"  # changed: {state, waiting_for, input_id}; `input_id` is in Claude Code's callbacks from here on
    PERMISSION_REQUESTED = "permission_requested"  # Pending
    PERMISSION_RESOLVED = "permission_resolved"  # {request_id, decision: allow | deny | cancelled, by}
    QUESTION = "question"  # Pending, asked by the agent itself; answered by permission_resolved too
    DIRECTORY_CHANGED = "directory_changed"  # {from, to}
    FILE_MODIFIED = "file_modified"  # {path, op: created | modified | deleted, source: tool | filesystem}
    GIT_ACTIVITY = "git_activity"  # {op, branch, head, repository}; op is git's own word: commit, checkout, …
    PERMISSION_MODE_CHANGED = "permission_mode_changed"  # {mode}; by a request, or by the agent (plan mode)
    CONVERSATION_STARTED = "conversation_started"  # {conversation_id, reason}: a fresh one in place of a lost one
    PROCESSES_PAUSED = "processes_paused"  # {processes: [{pid, command}]}: left by tools, idle, paused with the session
    ERROR = "error"  # {code, message}; `agent_died` also has {exit_code}
    INTERRUPTED = "interrupted"  # {input_id, input_seq, cause: restart | agent_died | no_result | stopped}
    EXITED = "exited"  # {exit_code, reason, requested, stderr}: nothing follows in this run; minus N is signal N


class AgentState(StrEnum):
    """What the agent is doing, as told by Claude Code itself."""

    ACTIVE = "active"
    WAITING_INPUT = "waiting_input"


class WaitingFor(StrEnum):
    """What a waiting agent waits for."""

    PROMPT = "prompt"
    PERMISSION = "permission"
    QUESTION = "question"


def _known_state(value: object) -> object:
    """A state of a newer runner counts as work: the session is then neither paused nor ended as idle."""
    return AgentState.ACTIVE if isinstance(value, str) and value not in set(AgentState) else value


def _known_waiting(value: object) -> object:
    """A request of an unknown kind counts as a permission, which anybody can allow or deny."""
    return WaitingFor.PERMISSION if isinstance(value, str) and value not in set(WaitingFor) else value


ReportedState = Annotated[AgentState | None, BeforeValidator(_known_state)]
ReportedWaiting = Annotated[WaitingFor | None, BeforeValidator(_known_waiting)]


class Event(BaseModel):
    """One journal entry; its JSON text is the journal line, the stored row and the frame alike.

    `seq` counts from 1 without a gap within a session. `data` is always an object. `kind` is an `EventKind`, or one
    of a newer runner: a reader keeps its place and goes on.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["event"] = "event"
    seq: int = Field(ge=1)
    kind: str
    at: AwareDatetime
    data: dict[str, Any]


class Pending(BaseModel):
    """A permission or question the agent waits on. It is answered once; the first answer wins."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    request_id: str
    waiting_for: Annotated[Literal[WaitingFor.PERMISSION, WaitingFor.QUESTION], BeforeValidator(_known_waiting)]
    tool: str
    title: str
    input: dict[str, Any]
    suggestions: list[dict[str, Any]] = []  # rules Claude Code proposes to make of an "allow"
    tool_use_id: str | None = None  # of the tool use that waits; the message that contains it names its sub-agent too
    agent_id: str | None = None  # the sub-agent that asks; null for the main agent


def utc_text(moment: datetime) -> str:
    """Return RFC 3339 in UTC with milliseconds and `Z`, the one form of time on every wire."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_json(text: str | bytes) -> Any:
    """Return the value in a journal line or a frame. Raises ValueError.

    The fast parser refuses what is nested about 200 deep; the slow one keeps such a line, written long ago, readable.
    """
    try:
        return from_json(text)
    except ValueError:
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
