"""Messages between manager and runner on `control.sock`: JSON over HTTP, and one WebSocket for the relay.

| call | body -> response |
|---|---|
| `GET /health` | -> Health |
| `POST /prepare` | Prepare -> Health; may run any number of times; 409 after init; 404 from an earlier runner |
| `POST /init` | Init -> Health; repeating it for the same generation has no effect, another generation is 409 |
| `POST /input` | InputRequest -> InputAccepted; a repeated id returns the same seq |
| `POST /interrupt` | -> Health |
| `POST /permissions/{request_id}` | PermissionAnswer -> InputAccepted; 404 when unknown, 409 when already answered |
| `POST /egress-requests` | EgressAsk -> InputAccepted; may run twice, 409 when it was resolved |
| `POST /egress-requests/{id}` | EgressOutcome -> InputAccepted; 404 when unknown, 409 when it was resolved |
| `POST /model`, `POST /permission-mode`, `POST /effort` | Change -> Health |
| `POST /answer-within` | AnswerWithin -> Health; counts for later requests |
| `GET /attachments/{id}` | -> the data of an attachment |
| `GET /commands` | -> Commands; the slash commands that an input may begin with |
| `GET /mcp` | -> McpServers |
| `POST /mcp/reconnect` | McpReconnect -> Health; 409 when it fails, or there is no such server |
| `POST /mcp/toggle` | McpToggle -> Health; 409 when there is no such server |
| `POST /workspace-limit` | WorkspaceLimit -> Health; takes effect with the next measurement |
| `POST /output-limits` | OutputLimits -> Health; counts for later output; 404 from an earlier runner |
| `GET /queue` | -> Queue |
| `POST /queue/change` | ChangeInput -> InputAccepted; 409 when the agent has it already |
| `POST /queue/cancel` | CancelInput -> InputAccepted; 409 when the agent has it already |
| `POST /budget` | Budget -> Health; inputs wait while the budget is used up, and continue when it is raised |
| `POST /rewind` | RewindRequest -> InputAccepted; 409 while a turn runs or inputs wait; 404 from an earlier runner |
| `POST /quiet` | Draining -> Health; starts or ends draining; 409 while the agent works, also in the background |
| `POST /revoke` | Revoke -> Health; adds to the revoked subjects and closes their public connections (4401) |
| `POST /stop` | Stop -> Health; returns at once; `phase` becomes `ended` when everything is journaled |
| `WS /terminal?subject=S&write=1` | -> a terminal, for a client of the manager; frames: `jelmore_protocol.terminal` |
| `POST /transcript` | lines of `TranscriptPart` -> Health; the stored transcript that the runner has asked for |
| `WS /transcript?after=N` | -> frames of `jelmore_protocol.transcripts`; closes once all is stored after the end |
| `WS /relay?after=N` | -> frames: `hello`, every event after N (default 0) once journaled, deltas, `public_clients` |

The header `traceparent` of `/init` and `/input` says which span the turn of the input belongs to; see
`jelmore_protocol.tracing`. The runner gives it to the gateway with each call of that turn.

A runner with a secret requires it in `X-Jelmore-Secret` on every call; without it, it responds 403 (`forbidden`).
Errors are `{"code": ErrorCode, "message": str}` with a 4xx or 503 status.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, FailFast, Field

from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS, MAX_REVOKED_SUBJECTS, MAX_SEQ, MAX_STOP_GRACE_S, Id, Name
from jelmore_protocol.content import Blocks
from jelmore_protocol.events import Pending, ReportedState, ReportedWaiting
from jelmore_protocol.network import MAX_HOST_CHARACTERS
from jelmore_protocol.options import AgentSettings, Effort, SettingSource, SubAgent, Thinking, VariableName, VolumePath
from jelmore_protocol.permissions import Answer, PermissionMode
from jelmore_protocol.setup import FEATURE, SetupOrder
from jelmore_protocol.transcripts import StoredTranscript

SECRET_HEADER: Final = "X-Jelmore-Secret"  # noqa: S105 - a name

FEATURES: Final = frozenset({"budget", FEATURE})
"""What `Init.requires` may name."""


class Phase(StrEnum):
    """The phase of a runner, from its start to its end."""

    DORMANT = "dormant"  # listens and waits for init
    STARTING = "starting"  # starts Claude Code
    READY = "ready"
    ENDED = "ended"  # Claude Code has exited and its last event is journaled


class AgentAhead(StrEnum):
    """What became of the agent that a runner starts ahead of its session (`Prepare`)."""

    NONE = "none"  # none was asked for
    STARTING = "starting"
    CONNECTED = "connected"  # its process waits for the session
    FAILED = "failed"  # it does not start, or keeps ending: the session will start its own
    USED = "used"  # the session has got it
    DROPPED = "dropped"  # the session needed another, so it was ended


def _known_ahead(value: object) -> object:
    """Read an unknown value, of a newer runner, as not known."""
    return value if isinstance(value, str) and value in set(AgentAhead) else None


def _within(least: int, most: int) -> BeforeValidator:
    """Read a number out of these bounds, which no honest runner sends, as unknown: no store could hold it."""

    def read(value: object) -> object:
        return None if isinstance(value, int) and not least <= value <= most else value

    return BeforeValidator(read)


MAX_COUNT: Final = 2**31 - 1
Size = Annotated[int | None, _within(0, MAX_SEQ)]
Count = Annotated[int | None, _within(0, MAX_COUNT)]
ExitCode = Annotated[int | None, _within(-MAX_COUNT, MAX_COUNT)]


def _known_phase(value: object) -> object:
    """Read an unknown phase, of a newer runner, as ready: the runner responds and has not ended."""
    return Phase.READY if isinstance(value, str) and value not in set(Phase) else value


class Message(BaseModel):
    """Base of the control messages. Unknown fields are ignored; `Init.requires` names those that must be understood."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)


class AgentOptions(Message):
    """Options that Claude Code is started with. Unset options keep Claude Code's defaults."""

    model: Name | None = None
    permission_mode: PermissionMode = "default"
    allowed_tools: list[str] = []
    system_prompt: str | None = None  # see system_prompt_mode
    max_turns: int | None = None
    max_budget_usd: float | None = None
    mcp_servers: dict[str, Any] = {}
    answer_within_s: float = Field(default=0, ge=0)  # seconds until a pending request is denied; 0: never
    permission_modes: list[str] | None = None  # the modes that a change or an answer may set; None: all
    system_prompt_mode: Literal["append", "replace"] = "append"
    setting_sources: list[SettingSource] = []  # which of Claude Code's settings folders count
    repository_hooks: bool = False  # run the hooks of these settings and of plugins
    repository_rules: bool = False  # obey the allow rules of these settings
    tools: list[str] | None = None  # None: all of Claude Code's own
    disallowed_tools: list[str] = []
    effort: Effort | None = None
    thinking: Thinking | None = None
    fallback_model: Name | None = None
    output_schema: dict[str, Any] | None = None
    agents: dict[str, SubAgent] = {}
    skills: list[str] | Literal["all"] | None = None
    plugins: list[VolumePath] = []
    add_dirs: list[VolumePath] = []
    cwd: VolumePath | None = None  # None: the workspace
    settings: AgentSettings = AgentSettings()
    env: dict[VariableName, str] = {}


class InputRequest(Message):
    """An input. `by` names the sender in its event. With `content`, `input` is the text that stands for it."""

    id: Id
    input: str = Field(min_length=1)
    content: Blocks | None = None
    by: str = ""
    expand: bool = False  # run slash commands, and read the files that `@path` names
    trace: str = ""  # the `traceparent` header of the call; journaled, so that it is kept while the input waits


class ChangeInput(Message):
    """A new text for an input that waits. Its attachments are dropped."""

    id: Id
    input: str = Field(min_length=1)
    by: str = ""


class CancelInput(Message):
    """Cancel the input with this id."""

    id: Id
    by: str = ""


class QueuedInput(Message):
    """An input that waits for the agent. `seq` is the event that accepted it."""

    id: str
    input: str
    by: str = ""
    seq: int


class Queue(Message):
    """The inputs that wait, in the order in which they will run."""

    inputs: Annotated[list[QueuedInput], FailFast()] = []


class OutputLimits(Message):
    """How much output a session may journal whole; beyond it, large events are cut to an outline."""

    total_bytes: int = Field(ge=1)
    bytes_per_s: int = Field(ge=1)


DEFAULT_OUTPUT_LIMITS: Final = OutputLimits(total_bytes=2 * 1024**3, bytes_per_s=1024**2)
"""The limits of a runner that is given none."""


class Prepare(Message):
    """Start the agent of a session that does not exist yet, without a prompt. The session gets it if it fits its init.

    The options must hold nothing of a person or a session: no credential, no MCP server.
    """

    protocol: int
    session_id: str
    options: AgentOptions


class Init(Message):
    """The configuration of a dormant runner. It has secrets, so it is sent over the socket, not in the environment."""

    protocol: int  # chosen by the manager: the newest version that both sides speak
    requires: list[str] = []  # features that the runner must know; otherwise it refuses the message
    session_id: str
    generation: int = Field(ge=1)
    options: AgentOptions
    token_public_key: str  # PEM, Ed25519: verifies clients' session tokens
    gateway_token: str = ""  # added to every call of the gateway; empty where a socket of its own says who calls
    first_input: InputRequest | None = None  # runs at most once, however often the session is started
    resume: bool = False  # continue the conversation of an earlier generation
    after: int = 0  # the newest seq in any store; new events are numbered above it
    workspace_limit_bytes: int = Field(default=0, ge=0)  # of all of /session; 0 means no limit
    workspace_limit_files: int = Field(default=0, ge=0)  # files and folders of /session; 0 means no limit
    pause_at_usd: float | None = Field(default=None, ge=0)  # see `Budget`; requires the feature `budget`
    output_limits: OutputLimits | None = None  # None means the runner's own limits
    setup: SetupOrder | None = None  # runs once in this volume before the first turn; requires the feature `setup`
    token_epoch: int = Field(default=0, ge=0)  # session tokens of an earlier epoch are not accepted
    transcript: StoredTranscript | None = None  # what the database holds; None: nothing, or it is not asked


class PermissionAnswer(Message, Answer):
    """The answer to a pending permission or question, and who gave it."""

    by: str = ""


class EgressAsk(Message):
    """A connection to another host, which the gateway holds until a person decides."""

    id: Id
    host: str = Field(max_length=MAX_HOST_CHARACTERS)
    port: int
    method: str  # CONNECT, or that of a plain HTTP request
    expires_at: AwareDatetime


class EgressOutcome(Message):
    """What became of such a connection. The sandbox journals it; the gateway has acted on it already."""

    decision: Literal["allow", "deny", "cancelled"]
    by: str = ""
    remember: Literal["once", "session"] | None = None
    message: str = Field(default="", max_length=MAX_ANSWER_CHARACTERS)
    cause: str = ""  # expired, when nobody decided in time


class InputAccepted(Message):
    """The seq of the event that records what was accepted."""

    seq: int = Field(ge=0, le=MAX_SEQ)


class Change(Message):
    """A new model or permission mode."""

    value: Name


class AnswerWithin(Message):
    """How long later permissions and questions wait before they are denied, in seconds; 0 is for ever."""

    seconds: float = Field(ge=0)


class Command(Message):
    """A slash command: of Claude Code, the repository, a skill or a plugin."""

    name: str
    description: str = ""
    argument_hint: str = ""


class Commands(Message):
    """The slash commands of the running agent."""

    commands: Annotated[list[Command], FailFast()]


class McpServer(Message):
    """An MCP server of the running agent. `status` is Claude Code's word, such as `connected` or `failed`."""

    name: str
    status: str
    error: str | None = None
    version: str | None = None  # as the server names itself and its version
    tools: list[str] = []


class McpServers(Message):
    """The MCP servers of the running agent."""

    servers: Annotated[list[McpServer], FailFast()]


class McpReconnect(Message):
    """Connect to this MCP server again."""

    name: Name


class McpToggle(Message):
    """Use this MCP server, or do not, until the agent's process ends."""

    name: Name
    enabled: bool


class WorkspaceLimit(Message):
    """The new limit of the session's volume; 0 means no limit."""

    bytes: int = Field(ge=0)


class Budget(Message):
    """The spending of the session, over all its processes, from which inputs wait; None means never."""

    pause_at_usd: float | None = Field(default=None, ge=0)


class Stop(Message):
    """End the agent: interrupt, then TERM, then KILL after `grace_s` seconds."""

    reason: str
    grace_s: float = Field(default=10, ge=0, le=MAX_STOP_GRACE_S)
    final: bool = True  # false: the session continues later; subscribers are closed with 1001 instead of 1000


class Draining(Message):
    """Start or end draining: close public connections (1001) and accept no new ones, before a pause.

    Refused with `conflict` while a turn runs, an input waits or the agent has background tasks, so that a pause never
    stops work and no input reaches a paused process.
    """

    on: bool


class Revoke(Message):
    """Session tokens that are no longer valid: those of revoked API keys, and those of an earlier epoch."""

    subjects: list[str] = Field(max_length=MAX_REVOKED_SUBJECTS)  # the ids of the keys
    token_epoch: int = Field(default=0, ge=0)


class Health(BaseModel):
    """The state of a runner. `seq` is the newest journaled event.

    Sizes are None while they are unknown: before the first measurement, from an older runner, or when the session has
    no cgroup of its own. `workspace_bytes` and `open_files` are measured together, at most a few minutes ago.
    """

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    protocol: int  # the newest version that the runner speaks
    oldest_protocol: int | None = None  # the oldest version it speaks; None: only `protocol`
    phase: Annotated[Phase, BeforeValidator(_known_phase)]
    session_id: str | None
    generation: int = Field(ge=0, le=MAX_COUNT)
    seq: int = Field(ge=0, le=MAX_SEQ)
    state: ReportedState = None
    waiting_for: ReportedWaiting = None
    pending: Annotated[list[Pending], FailFast()] = []
    queued_inputs: int = 0
    quiet: bool = False  # draining: public connections are closed and refused
    stopping: bool = False  # by the manager or a signal; the agent's exit is then not the end of the session
    background: int = 0  # tasks that the agent left outside of turns, and terminals in use; they count as work
    agent_pid: Count = None
    agent_ahead: Annotated[AgentAhead | None, BeforeValidator(_known_ahead)] = None  # None: the runner cannot
    agent_exit_code: ExitCode = None
    error: str | None = None  # text: why the phase is ended, or a current problem such as a full disk
    uptime_s: float = 0
    rss_bytes: int = 0
    subscribers: int = 0
    memory_bytes: Size = None  # of the whole container, without reclaimable page cache
    memory_limit_bytes: Size = None
    pids: Count = None
    pids_limit: Count = None
    open_files: Count = None  # of the process that is nearest to its limit
    open_files_limit: Count = None
    cpu_us: Size = None  # processor time since the sandbox started, in microseconds
    cpu_limit_millis: Count = None  # thousandths of a processor
    oom_kills: Count = None  # processes that the kernel ended since the sandbox started, because memory was used up
    workspace_bytes: Size = None  # disk use of the session's volume
    workspace_limit_bytes: Size = None  # 0 means no limit
    output_limits: OutputLimits | None = None  # None: no session yet, or a runner that cannot change them


class Refusal(BaseModel, defer_build=True):
    """The body of every error response on the control socket."""

    code: str
    message: str
