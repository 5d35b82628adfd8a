"""A session's numbered output, as the runner journals it and as it is stored and sent to clients."""

import json
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import from_json

from jelmore_protocol.vocabulary import WaitingFor as WaitingFor  # noqa: PLC0414 - its users find it here


class EventKind(StrEnum):
    """The kind of a journal entry.

    An input that was passed to the agent ends exactly once: with `turn_ended` (`input_id` names the input; also after
    an interrupt by a user), or with `interrupted`. Other accepted inputs stay queued or
    end with `input_cancelled`.

    `message` is the agent's own format. The neutral facts about it follow in the same batch; only they are read by the
    manager. A `message` without `neutral` or `turn_ended` is of an older runner, which journals no facts about it.
    """

    # a message in the agent's own format: {message, input_id}; with `neutral: true`, `said`, `tool_used` and
    # `tool_ended` for all of its content follow; with `turn_ended: true` (a result), that event follows
    MESSAGE = "message"
    SAID = "said"  # a text: {role: assistant | user, thinking, text, input_id, parent_tool_use_id}
    # {tool_use_id, tool, input, input_id, parent_tool_use_id}; a large `input` is cut and has `truncated: {bytes}`
    TOOL_USED = "tool_used"
    # {tool_use_id, failed, output, input_id, parent_tool_use_id}; a large `output` is cut, then with `truncated`
    TOOL_ENDED = "tool_ended"
    # the end of a turn: {input_id, outcome: completed | failed, subtype, text, errors, usage, cost_usd, total_cost_usd,
    # process_cost_usd, num_turns, duration_ms}; `cost_usd` is of this turn, `process_cost_usd` the running total of the
    # agent's process, `total_cost_usd` that of the session over all its processes; `models` and `process_models` have
    # the same by model: input_tokens, output_tokens, cache_read_tokens, cache_write_tokens and cost_usd of each;
    # `structured_output` if the session has an output schema
    TURN_ENDED = "turn_ended"
    INPUT = "input"  # a prompt was accepted: {id, input, by}; also `expand`, `content`
    INPUT_CHANGED = "input_changed"  # a waiting input has another text: {id, input, by}
    INPUT_CANCELLED = "input_cancelled"  # a waiting input will not run: {id, by}
    STATE = "state"  # it changed: {state, waiting_for, input_id}; `input_id`: the input of Claude Code's next callbacks
    PERMISSION_REQUESTED = "permission_requested"  # Pending; also for a connection (`waiting_for: egress`)
    # {request_id, decision: allow | deny | cancelled, by}; as given: message, answers, remember, updated_permissions,
    # interrupt; `cause: expired` when nobody answered in time
    PERMISSION_RESOLVED = "permission_resolved"
    QUESTION = "question"  # Pending, asked by the agent; permission_resolved has the answer
    DIRECTORY_CHANGED = "directory_changed"  # {from, to}
    FILE_MODIFIED = "file_modified"  # {path, op: created | modified | deleted, source: tool | filesystem}
    GIT_ACTIVITY = "git_activity"  # {op, branch, head, repository}; op is a git command: commit, checkout, …
    PERMISSION_MODE_CHANGED = "permission_mode_changed"  # {mode}; by a request, or by the agent (plan mode)
    CONVERSATION_STARTED = "conversation_started"  # {conversation_id, reason}: the old one is lost, cleared or rewound
    # {trigger: manual | auto, before_tokens, input_id}: the agent continues with a summary of what came before
    CONVERSATION_COMPACTED = "conversation_compacted"
    # {conversation_id, messages, reason}: the volume had lost the transcript, and the stored one was put back
    CONVERSATION_RESTORED = "conversation_restored"
    # {to_seq, input_id, files, conversation, by}: taken back to before the prompt at `to_seq`; what was journaled stays
    REWOUND = "rewound"
    SETUP_STARTED = "setup_started"  # {run, file, within_s}: the session's setup runs; inputs wait
    SETUP_OUTPUT = "setup_output"  # {text}: what it printed, both streams in the order of arrival
    # {outcome, exit_code, duration_ms, cause, omitted_bytes, text}; `outcome` is a `setup.SetupOutcome`, `text` the end
    # of what it printed, after `omitted_bytes` that are not journaled
    SETUP_ENDED = "setup_ended"
    PROCESSES_PAUSED = "processes_paused"  # {processes: [{pid, command}]}: left by tools, idle, paused with the session
    ERROR = "error"  # {code, message}; `agent_died` also has {exit_code}
    INTERRUPTED = "interrupted"  # {input_id, input_seq, cause: restart | agent_died | no_result | stopped}
    EXITED = "exited"  # {exit_code, reason, requested, stderr}: the last event of this run; exit_code -N means signal N


class AgentState(StrEnum):
    """What the agent is doing, as reported by Claude Code."""

    ACTIVE = "active"
    WAITING_INPUT = "waiting_input"


def _known_state(value: object) -> object:
    """Read an unknown state, of a newer runner, as active: the session is then not paused or ended as idle."""
    return AgentState.ACTIVE if isinstance(value, str) and value not in set(AgentState) else value


def _known_waiting(value: object) -> object:
    """Read a request of an unknown kind as a permission, because every client can allow or deny one."""
    return WaitingFor.PERMISSION if isinstance(value, str) and value not in set(WaitingFor) else value


ReportedState = Annotated[AgentState | None, BeforeValidator(_known_state)]
ReportedWaiting = Annotated[WaitingFor | None, BeforeValidator(_known_waiting)]


class Event(BaseModel):
    """A journal entry. The same JSON text is the journal line, the stored row and the frame.

    `seq` counts from 1 without a gap within a session. `data` is always an object. `kind` is an `EventKind`, or an
    unknown kind of a newer runner: readers count it and skip it.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    type: Literal["event"] = "event"
    seq: int = Field(ge=1)
    kind: str
    at: AwareDatetime
    data: dict[str, Any]


class Preview(BaseModel):
    """What a tool would do, for the person who decides: a unified diff, a command, a plan or an address."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    kind: str  # diff, command, plan, url; readers show the text of an unknown kind
    text: str
    path: str | None = None  # of the file that a diff changes
    truncated: bool = False


class Pending(BaseModel):
    """A permission, question or connection that waits for an answer. The first one counts."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    request_id: str
    waiting_for: Annotated[
        Literal[WaitingFor.PERMISSION, WaitingFor.QUESTION, WaitingFor.EGRESS], BeforeValidator(_known_waiting)
    ]
    tool: str
    title: str
    input: dict[str, Any]
    suggestions: list[dict[str, Any]] = []  # rules that Claude Code proposes to add with an "allow"
    tool_use_id: str | None = None  # the tool use that waits; the message with it names the sub-agent too
    agent_id: str | None = None  # the sub-agent that asks; null for the main agent
    preview: Preview | None = None
    reason: str | None = None  # why it is asked: the rule or hook that demands it
    expires_at: AwareDatetime | None = None  # when it is denied by itself; null: never


def utc_text(moment: datetime) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds and `Z`, the only format in APIs, events and frames."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_json(text: str | bytes) -> Any:
    """Parse a journal line or a frame. Raises ValueError.

    pydantic's parser refuses values nested about 200 deep. The slower `json` keeps old lines of that kind readable.
    """
    try:
        return from_json(text)
    except ValueError:
        try:
            return json.loads(text)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
