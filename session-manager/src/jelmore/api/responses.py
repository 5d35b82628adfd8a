"""Response bodies of the session endpoints. Every time is UTC with milliseconds and `Z`."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, PlainSerializer, WithJsonSchema

from jelmore.api.repository_body import ForkedFromResponse, RepositoryResponse, repository_shown
from jelmore.control.requests import Changed, Created, IssuedToken
from jelmore.session.record import START_DIRECTORY, Session, failure_payload
from jelmore.session.resources import Measurement
from jelmore.session.states import ContainerPhase, Presence, SessionStatus, WaitingFor
from jelmore.session.warm_start import WarmStart
from jelmore_protocol.events import utc_text

UtcTime = Annotated[
    datetime,
    PlainSerializer(utc_text, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2026-01-31T12:00:00.000Z"]}),
]


class Urls(BaseModel):
    """URLs of the session. They never contain a token or key."""

    session: str
    ws: str = Field(description="The session's own WebSocket; needs a session token.")
    stream: str = Field(description="Live output, as server-sent events or WebSocket.")
    output: str = Field(description="Stored output.")
    events: str = Field(description="Stored events.")


class UsageResponse(BaseModel):
    """Totals of the conversation so far."""

    turns: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    cost_usd: float


class LimitsResponse(BaseModel):
    """Resource limits of the session's container."""

    memory_bytes: int
    cpus: float
    pids: int
    workspace_bytes: int = Field(description="Of its whole volume; 0 is not limited.")
    output_bytes: int = Field(description="Output in all before large events are cut; 0: the deployment's default.")
    output_bytes_per_s: int = Field(description="The same per second, after a burst.")


class MeasurementFields(BaseModel):
    """Resource use of the session; null where it is unknown."""

    memory_bytes: int | None = Field(description="Of the container, without file cache that could be dropped.")
    memory_limit_bytes: int | None
    pids: int | None
    pids_limit: int | None
    workspace_bytes: int | None = Field(description="Disk that the workspace, the home and the journal use.")
    workspace_limit_bytes: int | None
    cpu_millis: int | None = Field(
        default=None, description="Thousandths of a processor that it used on average since the measurement before."
    )
    cpu_limit_millis: int | None = Field(default=None, description="Thousandths of a processor that it may use.")
    oom_kills: int | None = Field(
        default=None, description="Processes that the kernel ended because memory was used up, since its start."
    )


class ResourcesResponse(MeasurementFields):
    """A recent measurement, updated when a value has changed by a twentieth of its limit."""

    at: UtcTime | None
    warned_percent: dict[str, int] = Field(description="The level last warned of, by resource.")


class MeasurementResponse(MeasurementFields):
    """One measurement."""

    at: UtcTime


def measured(reading: Measurement) -> dict[str, Any]:
    """Return the fields of `MeasurementFields`."""
    return {name: getattr(reading, name) for name in MeasurementFields.model_fields}


class ResourcesSeriesResponse(BaseModel):
    """A session's measurements, newest first."""

    session_id: str
    latest: MeasurementResponse | None
    series: list[MeasurementResponse]


class TimingResponse(BaseModel):
    """When an idle session is paused, hibernated and ended. 0 means never."""

    timeout_minutes: float
    idle_after_s: float
    hibernate_after_s: float
    warn_before_s: float
    lifetime_s: float
    on_timeout: str
    answer_within_s: float = Field(description="After which a pending permission or question is denied.")


class FailureResponse(BaseModel):
    """Why the session failed."""

    error: str
    phase: str | None = None
    exit_code: int | None = None
    oom: bool = False
    log_tail: list[str] = []


class HealthResponse(BaseModel):
    """Health of the session according to its record. `GET …/health` returns the checks."""

    status: str = Field(description="healthy, starting, asleep, ended or failed.")
    restarts: int
    restarted_at: UtcTime | None


class NetworkResponse(BaseModel):
    """What a session may reach beside the model."""

    mode: str
    allow: list[str]
    ask: list[str] = Field(description="Hosts that a person is asked about; `*` is every public host name.")
    approved: list[str] = Field(description="Hosts that a person has allowed for the session, as `host:port`.")


class SessionResponse(BaseModel):
    """A session. `id` and `session_id` have the same value."""

    id: str
    session_id: str
    status: SessionStatus
    waiting_for: WaitingFor | None
    pending_url: str | None = Field(description="Where the pending requests are, when there are any.")
    unanswered: list[dict[str, Any]] = Field(
        description="Turns and prompts that were lost with a container; ask again by sending the input again."
    )
    pending_inputs: int = Field(
        description="Inputs that were accepted while the session was hibernated and have no output yet: it is waking, "
        "or could not be resumed. `GET …/queue` lists them; they run when it is resumed."
    )
    wanted: str = Field(description="`ended` while a deleted session is still being taken down.")
    presence: Presence = Field(description="`frozen` (paused) and `hibernated` sessions resume at the next input.")
    title: str | None
    query: str | None
    user_id: str | None
    acts_for_user: bool = Field(description="What belongs to `user_id`, credentials and routes, goes with its calls.")
    owner: str = Field(description="The API key that made it.")
    model: str | None
    permission_mode: str
    allowed_tools: list[str]
    max_turns: int | None
    network: NetworkResponse
    repository: RepositoryResponse | None
    forked_from: ForkedFromResponse | None
    base: str | None = Field(description="The session whose workspace it began with a copy of.")
    profile: str | None
    options: dict[str, Any] = Field(
        description="Further options of the agent that are set. Empty in lists, and the values of `env` are not shown."
    )
    max_budget_usd: float | None = Field(description="At this cost, the running turn ends as failed.")
    budget_usd: float | None = Field(description="At this cost, its inputs wait until the budget is raised.")
    metadata: dict[str, Any]
    archived: bool
    pinned: bool
    tags: list[str]
    current_directory: str | None
    claude_process_id: int | None = Field(description="Within the container.")
    container_id: str | None
    created_at: UtcTime
    updated_at: UtcTime = Field(description="When the status, the agent's activity or the request to end last changed.")
    last_activity: UtcTime = Field(description="Of the agent or its users; looking does not count.")
    terminated_at: UtcTime | None
    end_reason: str | None
    failure: FailureResponse | None
    output_buffer_size: int = Field(description="How many outputs are stored; the newest one's seq.")
    event_seq: int = Field(description="The newest event's seq.")
    restarts: int
    generation: int = Field(description="How many containers it has had.")
    warm_start: WarmStart = Field(
        description="Which stage of a warm start served the create: `runner` is a sandbox that was started ahead, "
        "`connected` one whose agent was connected too, known once the session has started; `lost` is one that "
        "had ended, so that another was started; `none` is a sandbox that was started for it."
    )
    version: int
    usage: UsageResponse
    resources: ResourcesResponse
    limits: LimitsResponse
    timing: TimingResponse
    health: HealthResponse
    urls: Urls


class CreatedResponse(SessionResponse):
    """A new session, with a token for its own URL."""

    token: str
    token_expires_at: UtcTime


class ChangedResponse(SessionResponse):
    """A changed session."""

    restarted_for: list[str] = Field(
        description="The changed options for which the agent was started again, with its conversation resumed."
    )


class TokenResponse(BaseModel):
    """A token for the session's own URL."""

    session_id: str
    token: str
    token_expires_at: UtcTime
    urls: Urls


def show(session: Session, public_url: str) -> SessionResponse:
    """Convert a session record to its response."""
    return SessionResponse(**_fields(session, public_url))


def show_created(created: Created, public_url: str) -> CreatedResponse:
    """Convert a created session and its token to a response."""
    token = created.token
    return CreatedResponse(**_fields(created.session, public_url), token=token.token, token_expires_at=token.expires_at)


def show_changed(changed: Changed, public_url: str) -> ChangedResponse:
    """Convert a changed session to its response."""
    return ChangedResponse(**_fields(changed.session, public_url), restarted_for=list(changed.restarted_for))


def show_token(session_id: object, token: IssuedToken, public_url: str) -> TokenResponse:
    """Convert a new token to its response."""
    urls = urls_of(str(session_id), public_url)
    return TokenResponse(session_id=str(session_id), token=token.token, token_expires_at=token.expires_at, urls=urls)


def health_word(session: Session) -> str:
    """Return the health of the session in one word; see `HealthResponse.status`."""
    if session.status is SessionStatus.FAILED:
        return "failed"
    if session.ended:
        return "ended"
    if session.presence is not Presence.AWAKE:
        return "asleep"
    return "healthy" if session.container_id else "starting"


def urls_of(session_id: str, public_url: str) -> Urls:
    """Return the URLs of a session."""
    base = f"{public_url}/api/v1/sessions/{session_id}"
    ws = "ws" + public_url.removeprefix("http")  # https becomes wss
    return Urls(
        session=base,
        ws=f"{ws}/s/{session_id}/ws",
        stream=f"{base}/stream",
        output=f"{base}/output",
        events=f"{base}/events",
    )


def _shown_presence(session: Session) -> Presence:
    """Return the presence. A session whose container was lost is not awake until the next one serves."""
    is_lost = session.container_phase is ContainerPhase.STARTING and session.status is not SessionStatus.INITIALIZING
    return Presence.HIBERNATED if is_lost else session.presence


def _fields(session: Session, public_url: str) -> dict[str, Any]:
    spec, session_id = session.spec, str(session.id)
    waits = session.waiting_for in {WaitingFor.PERMISSION, WaitingFor.QUESTION, WaitingFor.EGRESS}
    urls = urls_of(session_id, public_url)
    return {
        "id": session_id,
        "session_id": session_id,
        "status": session.status,
        "waiting_for": session.waiting_for,
        "pending_url": f"{public_url}/api/v1/sessions/{session_id}/permissions" if waits else None,
        "unanswered": list(session.unanswered),
        "pending_inputs": len(session.pending_inputs),
        "wanted": session.wanted.value,
        "presence": _shown_presence(session),
        "title": session.title,
        "query": spec.query,
        "user_id": spec.user_id,
        "acts_for_user": spec.acts_for_user,
        "owner": session.owner,
        "model": spec.model,
        "permission_mode": spec.permission_mode,
        "allowed_tools": list(spec.allowed_tools),
        "max_turns": spec.max_turns,
        "max_budget_usd": spec.max_budget_usd,
        "profile": spec.profile,
        "repository": repository_shown(spec.repository),
        "base": spec.base,
        "forked_from": ForkedFromResponse.model_validate(spec.forked_from) if spec.forked_from else None,
        "network": {"mode": "none", "allow": [], "ask": [], "approved": [], **spec.network},
        "options": {**spec.options, **({"env": sorted(spec.options["env"])} if spec.options.get("env") else {})},
        "budget_usd": spec.budget_usd,
        "metadata": session.metadata,
        "archived": session.archived,
        "pinned": session.pinned,
        "tags": list(session.tags),
        "current_directory": session.current_directory or START_DIRECTORY,
        "claude_process_id": session.agent_pid,
        "container_id": session.container_id,
        "created_at": session.created_at,
        "updated_at": max(session.since, session.last_activity_at, session.ended_at or session.since),
        "last_activity": session.last_activity_at,
        "terminated_at": session.ended_at,
        "end_reason": session.end_reason,
        "failure": FailureResponse(**failure_payload(session.failure)) if session.failure else None,
        "output_buffer_size": session.output_seq,
        "event_seq": session.event_seq,
        "restarts": session.restarts,
        "generation": session.generation,
        "warm_start": session.warm_start,
        "version": session.version,
        "urls": urls,
        **_parts(session),
    }


def _parts(session: Session) -> dict[str, Any]:
    timing = session.spec.timing
    return {
        "usage": UsageResponse.model_validate(session.usage, from_attributes=True),
        "resources": ResourcesResponse(
            **measured(session.resources.reading),
            at=session.resources.read_at,
            warned_percent=dict(session.resources.warned),
        ),
        "limits": LimitsResponse.model_validate(session.spec.limits, from_attributes=True),
        "timing": TimingResponse(
            timeout_minutes=timing.timeout_s / 60,
            idle_after_s=timing.idle_after_s,
            hibernate_after_s=timing.hibernate_after_s,
            warn_before_s=timing.warn_before_s,
            lifetime_s=timing.lifetime_s,
            on_timeout="hibernate" if timing.hibernate_on_timeout else "terminate",
            answer_within_s=timing.answer_within_s,
        ),
        "health": HealthResponse(
            status=health_word(session), restarts=session.restarts, restarted_at=session.restarted_at
        ),
    }
