"""What the manager and the runner say on `control.sock`: JSON over HTTP, and one WebSocket for the relay.

| call | body -> answer |
|---|---|
| `GET /health` | -> Health |
| `POST /init` | Init -> Health; the same generation again changes nothing, another one is 409 |
| `POST /input` | InputRequest -> InputAccepted; the same id again answers with the same seq |
| `POST /interrupt` | -> Health |
| `POST /permissions/{request_id}` | PermissionAnswer -> InputAccepted; 404, or 409 when answered |
| `POST /model`, `POST /permission-mode` | Change -> Health |
| `POST /workspace-limit` | WorkspaceLimit -> Health; takes effect with the next measurement |
| `POST /quiet` | Quiet -> Health; 409 while the agent works, also in the background |
| `POST /revoke` | Revoke -> Health; closes the public connections of these subjects (4401); adds to earlier ones |
| `POST /stop` | Stop -> Health; graceful, returns at once, `phase` becomes `ended` when all is journaled |
| `WS /relay?after=N` | -> frames: `hello`, every event after N (0) as it is journaled, and deltas |

A runner that was given a secret asks for it in `X-Jelmore-Secret` on every call, else answers 403 (`forbidden`).
Errors are `{"code": ErrorCode, "message": str}` with a 4xx or 503 status.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS, MAX_REVOKED_SUBJECTS, MAX_STOP_GRACE_S, Id, Name
from jelmore_protocol.events import Pending, ReportedState, ReportedWaiting

SECRET_HEADER: Final = "X-Jelmore-Secret"  # noqa: S105 - a name


class Phase(StrEnum):
    """How far this run of the runner has come."""

    DORMANT = "dormant"  # listening, waiting for init
    STARTING = "starting"  # Claude Code is being started
    READY = "ready"
    ENDED = "ended"  # Claude Code is gone and its last event is journaled


def _known_phase(value: object) -> object:
    """A phase of a newer runner counts as ready: it answers, and it does not say that it has ended."""
    return Phase.READY if isinstance(value, str) and value not in set(Phase) else value


class Message(BaseModel):
    """Base of the control messages. Fields of a newer sender are ignored; what must be understood is in `requires`."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class AgentOptions(Message):
    """What Claude Code is started with; unset means Claude Code's own default."""

    model: Name | None = None
    permission_mode: Literal["default", "acceptEdits", "plan", "bypassPermissions", "dontAsk"] = "default"
    allowed_tools: list[str] = []
    system_prompt: str | None = None  # appended to Claude Code's own
    max_turns: int | None = None
    max_budget_usd: float | None = None
    mcp_servers: dict[str, Any] = {}


class InputRequest(Message):
    """A prompt on its way in. `by` names the sender for the record."""

    id: Id
    input: str = Field(min_length=1)
    by: str = ""


class Init(Message):
    """Everything a dormant runner must know. Secrets are in here, so it goes by socket, never by environment."""

    protocol: int  # chosen by the manager: the newest version that both sides speak
    requires: list[str] = []  # names that the receiver must know, or refuse the whole
    session_id: str
    generation: int = Field(ge=1)
    options: AgentOptions
    token_public_key: str  # PEM, Ed25519: verifies clients' session tokens
    gateway_token: str  # added to every call of the model gateway
    first_input: InputRequest | None = None  # executed once however often the session is started
    resume: bool = False  # continue the conversation of an earlier generation
    after: int = 0  # the newest seq any store knows; numbering never falls below it
    workspace_limit_bytes: int = Field(default=0, ge=0)  # of /session as a whole; 0 is none


class PermissionAnswer(Message):
    """The answer to a pending permission or question; `answers` maps a question's text to the chosen label."""

    decision: Literal["allow", "deny"]
    message: str | None = Field(default=None, max_length=MAX_ANSWER_CHARACTERS)
    answers: dict[str, str] | None = None
    updated_input: dict[str, Any] | None = None
    by: str = ""


class InputAccepted(Message):
    """The seq of the event that records what was accepted."""

    seq: int


class Change(Message):
    """A new model or permission mode."""

    value: Name


class WorkspaceLimit(Message):
    """What the session's volume may hold from now on; 0 is as much as there is."""

    bytes: int = Field(ge=0)


class Stop(Message):
    """End the agent: interrupt, then TERM, then KILL after `grace_s` seconds."""

    reason: str
    grace_s: float = Field(default=10, ge=0, le=MAX_STOP_GRACE_S)
    final: bool = True  # false: the session goes on later; subscribers are closed with 1001 in place of 1000


class Quiet(Message):
    """Send public clients away (1001) and take no more, before the container is frozen; or take them again.

    Refused with `conflict` while a turn runs, an input waits or the agent has tasks in the background, so that no input
    can land in a frozen process and no work is frozen unseen.
    """

    on: bool


class Revoke(Message):
    """Subjects of session tokens that no longer count: the ids of revoked API keys."""

    subjects: list[str] = Field(max_length=MAX_REVOKED_SUBJECTS)


class Health(BaseModel):
    """What the runner says of itself; `seq` is the newest journaled event.

    Sizes are None while they are unknown: before the first measurement, from an older runner, or where there is no
    control group of the session's own. `workspace_bytes` is the last measurement, at most some minutes old.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    protocol: int  # the newest version that the runner speaks
    oldest_protocol: int | None = None  # and the oldest; None is only `protocol`
    phase: Annotated[Phase, BeforeValidator(_known_phase)]
    session_id: str | None
    generation: int
    seq: int
    state: ReportedState = None
    waiting_for: ReportedWaiting = None
    pending: list[Pending] = []
    queued_inputs: int = 0
    quiet: bool = False  # public clients are sent away
    stopping: bool = False  # it was told to end, by the manager or by a signal: its agent's end is not the session's
    background: int = 0  # tasks that the agent left running beside its turns: work, though no turn runs
    agent_pid: int | None = None
    agent_exit_code: int | None = None
    error: str | None = None  # why phase is ended, or what is wrong for now (a full disk), in words
    uptime_s: float = 0
    rss_bytes: int = 0
    subscribers: int = 0
    memory_bytes: int | None = None  # of the whole container, without page cache that could be dropped
    memory_limit_bytes: int | None = None
    pids: int | None = None
    pids_limit: int | None = None
    workspace_bytes: int | None = None  # disk that the session's volume uses
    workspace_limit_bytes: int | None = None  # 0 is none


class Refusal(BaseModel):
    """The body of every error answer on the control socket."""

    code: str
    message: str
