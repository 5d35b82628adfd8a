"""The record of a session, and how a fact changes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jelmore.session.errors import IllegalMoveError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.limits import Limits
from jelmore.session.pending_inputs import PendingInputs, retried
from jelmore.session.resources import Resources
from jelmore.session.sandbox_choice import SandboxChoice, choice_of
from jelmore.session.states import (
    ENDED,
    MOVES,
    ContainerPhase,
    Fact,
    Presence,
    SessionStatus,
    WaitingFor,
    Wanted,
)
from jelmore.session.warm_start import WarmStart

START_DIRECTORY: Final = "/session/workspace"
"""The first working directory of every agent; the runner reports each change."""


@dataclass(frozen=True, slots=True)
class Timing:
    """When an idle session is paused, hibernated and ended, in seconds since its last activity. 0 means never.

    Only `lifetime_s` counts from creation. With `hibernate_on_timeout` a timeout hibernates the session. A permission
    or question without an answer is denied after `answer_within_s`.
    """

    idle_after_s: float = 300
    hibernate_after_s: float = 900
    timeout_s: float = 1800
    warn_before_s: float = 120
    lifetime_s: float = 0
    hibernate_on_timeout: bool = False
    answer_within_s: float = 0


@dataclass(frozen=True, slots=True)
class Spec:
    """What the owner asked for. State changes of the session leave it alone."""

    query: str | None = None
    user_id: str | None = None
    acts_for_user: bool = False  # what belongs to `user_id`, credentials and routes, goes with its calls
    model: str | None = None
    permission_mode: str = "default"
    allowed_tools: tuple[str, ...] = ()
    system_prompt: str | None = None
    max_turns: int | None = None
    max_budget_usd: float | None = None
    budget_usd: float | None = None
    mcp_servers: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)  # further options of the agent, as the runner gets them
    network: dict[str, Any] = field(default_factory=dict)  # `mode` and `allow`; empty: the model only
    profile: str | None = None
    bounds: dict[str, Any] = field(default_factory=dict)  # what the profile fixed, bounded and chose at the create
    repository: dict[str, Any] = field(default_factory=dict)  # `url`, `ref`, `branch` and `commit` of the create
    forked_from: dict[str, Any] = field(default_factory=dict)  # `session_id`, `seq` and `messages` of the fork
    base: str | None = None  # the session whose workspace the create copied
    limits: Limits = field(default_factory=Limits)
    timing: Timing = field(default_factory=Timing)

    @property
    def acting_user(self) -> str:
        """The user whose credentials and routes the session uses, empty for nobody's."""
        return self.user_id or "" if self.acts_for_user else ""

    @property
    def sandbox(self) -> SandboxChoice:
        """What the profile chose for the session's sandboxes."""
        return choice_of(self.bounds)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a session cannot continue, for the person who has to correct it."""

    phase: str  # creating, starting, running
    message: str
    exit_code: int | None = None
    oom: bool = False
    log_tail: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Running totals of a session's conversation, as Claude Code reports them."""

    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Detail:
    """The details of a fact. Only the fields that belong to that fact are read."""

    reason: str | None = None
    waiting_for: WaitingFor | None = None
    failure: Failure | None = None
    container_id: str | None = None
    agent_pid: int | None = None
    connected: bool = False  # its agent was connected before the session was there
    output_seq: int | None = None
    restarts: int | None = None
    """For CONTAINER_LOST: restarts within the window, including this one; None for a requested restart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The session record. The store increments `version` on save and rejects a stale one."""

    id: UUID
    owner: str
    spec: Spec
    created_at: datetime
    last_activity_at: datetime
    since: datetime  # when the status last changed, or the pending start or stop began
    status: SessionStatus = SessionStatus.INITIALIZING
    wanted: Wanted = Wanted.RUNNING
    presence: Presence = Presence.AWAKE
    waiting_for: WaitingFor | None = None
    pending: tuple[dict[str, Any], ...] = ()  # permissions and questions without an answer, as the runner reported them
    unanswered: tuple[dict[str, Any], ...] = ()  # prompts lost with a container; shown until the next input
    pending_inputs: PendingInputs = ()  # accepted while hibernated, and not journaled by a runner yet
    token_epoch: int = 0  # session tokens of an earlier epoch do not count
    tokens_rotated_at: datetime | None = None
    version: int = 0
    generation: int = 1
    warm_start: WarmStart = WarmStart.NONE
    output_seq: int = 0
    event_seq: int = 0
    restarts: int = 0
    restarted_at: datetime | None = None
    warned_at: datetime | None = None
    ended_at: datetime | None = None
    end_reason: str | None = None
    failure: Failure | None = None
    container_id: str | None = None
    agent_pid: int | None = None
    current_directory: str | None = START_DIRECTORY
    title: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    archived: bool = False
    pinned: bool = False
    tags: tuple[str, ...] = ()
    usage: Usage = field(default_factory=Usage)
    resources: Resources = field(default_factory=Resources)
    stored: tuple[Spec, dict[str, Any]] | None = field(default=None, compare=False, repr=False)
    """The spec and metadata as stored. The store sets it, and writes them again only when they have changed."""

    @property
    def ended(self) -> bool:
        """Whether the session has ended. It stays so unless a caller resumes it."""
        return self.status in ENDED

    @property
    def first_generation(self) -> int:
        """The generation that starts the session for the first time: the second when its warm sandbox was lost."""
        return 2 if self.warm_start is WarmStart.LOST else 1

    @property
    def starts_in_member(self) -> bool:
        """Whether the session is starting in a sandbox that it got from the warm pool."""
        in_first = self.status is SessionStatus.INITIALIZING and self.generation == 1
        return in_first and self.warm_start is WarmStart.RUNNER

    @property
    def accepts_while_hibernated(self) -> bool:
        """Whether it takes an input without a runner: it is hibernated, and waits for nothing else than a prompt."""
        waits = self.waiting_for is WaitingFor.PROMPT and not self.pending
        return waits and self.presence is Presence.HIBERNATED and not self.ended and self.wanted is Wanted.RUNNING

    @property
    def container_phase(self) -> ContainerPhase:
        """The phase of the container. `container_id` is set once the container's runner was observed to be ready."""
        if self.ended or self.presence is Presence.HIBERNATED:
            return ContainerPhase.NONE
        if self.status is SessionStatus.INITIALIZING or self.container_id is None:
            return ContainerPhase.STARTING
        return ContainerPhase.SERVING

    def after(self, fact: Fact, at: datetime, detail: Detail | None = None) -> "tuple[Session, list[EventDraft]]":
        """Return the session after `fact`, and the events that report it. Raises IllegalMoveError."""
        detail = detail or Detail()
        try:
            status = MOVES[self.status, fact]
        except KeyError:
            raise IllegalMoveError(self.id, self.status, fact) from None
        changed = replace(self, status=status)
        if status is not self.status and not (fact in _REPORTED and self._has_deadline):
            changed = replace(changed, since=at)
        changed = _carry(changed, fact, at, detail)
        return changed, _events(self, changed, fact, detail)

    @property
    def _has_deadline(self) -> bool:
        """Whether a start or stop is pending; its deadline counts from `since`."""
        return self.wanted is Wanted.ENDED or self.container_phase is ContainerPhase.STARTING

    def with_tokens_rotated(self, at: datetime) -> "Session":
        """Return the session in which no token that was issued so far counts any more."""
        return replace(self, token_epoch=self.token_epoch + 1, tokens_rotated_at=at)

    def ending(self, at: datetime, reason: str) -> "Session":
        """Return the session with its end requested; it ends once its sandbox is removed. A repeat changes nothing."""
        if self.ended or self.wanted is Wanted.ENDED:
            return self
        return replace(self, wanted=Wanted.ENDED, end_reason=reason, since=at)


def started_stage(session: Session, drafts: Sequence[EventDraft]) -> WarmStart | None:
    """Return the stage of the warm pool that served a session which these events report as started; else None."""
    warm = session.warm_start is not WarmStart.NONE
    return session.warm_start if warm and any(each.type is EventType.SESSION_STARTED for each in drafts) else None


_REPORTED: Final = frozenset({Fact.STARTED_WORKING, Fact.STARTED_WAITING})
"""Facts that the runner reports, with its own timestamps: they must not extend a deadline."""


def _carry(session: Session, fact: Fact, at: datetime, detail: Detail) -> Session:
    """Return the session with the fields that `fact` changes; the status is set already."""
    match fact:
        case Fact.READY | Fact.READY_BUSY | Fact.CONTAINER_REPLACED:
            return _served(session, fact, at, detail)
        case Fact.STARTED_WORKING:
            return replace(session, waiting_for=None, presence=Presence.AWAKE, last_activity_at=at, warned_at=None)
        case Fact.STARTED_WAITING:
            return replace(session, waiting_for=detail.waiting_for or WaitingFor.PROMPT, last_activity_at=at)
        case Fact.PAUSED:
            return replace(session, presence=Presence.PAUSED)
        case Fact.HIBERNATED:
            # `since` starts the time that the agent has to close its transcript, as for a stop.
            return replace(session, presence=Presence.HIBERNATED, container_id=None, agent_pid=None, since=at)
        case Fact.RESUMING:
            # The last activity stays: resuming without input must not keep a session alive indefinitely.
            generation = session.generation + (session.presence is Presence.HIBERNATED)
            again_due = retried(session.pending_inputs)
            return replace(session, presence=Presence.AWAKE, generation=generation, since=at, pending_inputs=again_due)
        case Fact.CONTAINER_LOST:
            return _lost(session, at, detail)
        case Fact.RESUMED:
            return _resumed(session, at)
        case Fact.EXITED | Fact.REMOVED | Fact.FAILED:
            reason = session.end_reason or detail.reason
            return replace(
                session,
                ended_at=at,
                end_reason=reason,
                waiting_for=None,
                pending=(),
                failure=detail.failure,
                container_id=None,
                agent_pid=None,
            )


def _served(session: Session, fact: Fact, at: datetime, detail: Detail) -> Session:
    """Return the session whose container serves it, for the first time or instead of another one."""
    waiting_for = session.waiting_for if fact is Fact.CONTAINER_REPLACED else detail.waiting_for
    if fact is Fact.READY:
        waiting_for = waiting_for or WaitingFor.PROMPT
    connected = detail.connected and session.warm_start is WarmStart.RUNNER
    return replace(
        session,
        waiting_for=waiting_for,
        last_activity_at=session.last_activity_at if session.presence is Presence.PAUSED else at,
        container_id=detail.container_id,
        agent_pid=detail.agent_pid,
        warm_start=WarmStart.CONNECTED if connected else session.warm_start,
    )


def _lost(session: Session, at: datetime, detail: Detail) -> Session:
    """Return the session whose next container is due. A requested restart does not count."""
    return replace(
        session,
        generation=session.generation + 1,
        since=at,
        container_id=None,
        agent_pid=None,
        warm_start=WarmStart.LOST if session.starts_in_member else session.warm_start,
        restarts=session.restarts if detail.restarts is None else detail.restarts,
        restarted_at=session.restarted_at if detail.restarts is None else at,
    )


def _resumed(session: Session, at: datetime) -> Session:
    """Return the ended session that starts again, with nothing left of its end."""
    return replace(
        session.with_tokens_rotated(at),
        wanted=Wanted.RUNNING,
        presence=Presence.AWAKE,
        generation=session.generation + 1,
        pending_inputs=retried(session.pending_inputs),
        last_activity_at=at,
        waiting_for=None,
        container_id=None,
        agent_pid=None,
        failure=None,
        ended_at=None,
        end_reason=None,
        restarts=0,
        warned_at=None,
    )


def _events(session: Session, changed: Session, fact: Fact, detail: Detail) -> list[EventDraft]:
    events: list[EventDraft] = []
    match fact:
        case Fact.READY | Fact.READY_BUSY if session.generation == session.first_generation:
            events.append(EventDraft(EventType.SESSION_STARTED, {"container_id": detail.container_id}))
        case Fact.PAUSED:
            events.append(EventDraft(EventType.SESSION_IDLE, {"since": session.last_activity_at.isoformat()}))
        case Fact.RESUMING | Fact.RESUMED:
            payload = {"from": session.presence.value if fact is Fact.RESUMING else session.status.value}
            events.append(EventDraft(EventType.SESSION_RESUMED, payload))
        case Fact.EXITED | Fact.REMOVED:
            events.append(EventDraft(EventType.SESSION_TERMINATED, {"reason": changed.end_reason or "exited"}))
        case Fact.FAILED:
            kept = {"pending_inputs": len(session.pending_inputs)} if session.pending_inputs else {}
            events.append(EventDraft(EventType.SESSION_FAILED, {**failure_payload(detail.failure), **kept}))
        case Fact.CONTAINER_LOST if detail.failure is not None:
            # The session continues, but subscribers need the reason for the restart.
            lost = {"code": "container_lost", "message": detail.failure.message, **failure_payload(detail.failure)}
            events.append(EventDraft(EventType.ERROR_RECEIVED, lost))
        case _:
            pass
    if changed.status is not session.status:
        moved = {"from": session.status.value, "to": changed.status.value, "reason": detail.reason or fact.value}
        if changed.status is SessionStatus.WAITING_INPUT and changed.waiting_for is not None:
            moved["waiting_for"] = changed.waiting_for.value
        events.append(EventDraft(EventType.SESSION_STATE_CHANGED, moved, detail.output_seq))
    return events


def failure_payload(failure: Failure | None) -> dict[str, Any]:
    """Return `failure` as the public event and the API present it."""
    if failure is None:
        return {"error": "unknown"}
    return {
        "error": failure.message,
        "phase": failure.phase,
        "exit_code": failure.exit_code,
        "oom": failure.oom,
        "log_tail": list(failure.log_tail),
    }
