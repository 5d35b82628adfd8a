"""What is outside of a session's record and matters to it: its container, the runner inside, its route."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from jelmore.session.states import WaitingFor


class SandboxState(StrEnum):
    """A container, as the engine reports it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


class RunnerPhase(StrEnum):
    """How far the runner inside has come; `jelmore_protocol.control.Phase` in our own words."""

    DORMANT = "dormant"
    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"


class Route(StrEnum):
    """Where the session's own URL leads."""

    ABSENT = "absent"
    RUNNER = "runner"
    MANAGER = "manager"  # while it sleeps


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener is: `unix:/path` or `tcp:host:port`, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class ControlAddress(Address):
    """A runner's control socket, and which session and generation must answer there."""

    session_id: UUID
    generation: int
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One container. `id` names this one and never a later one of the same session."""

    generation: int
    state: SandboxState
    id: str
    exit_code: int | None = None
    oom: bool = False
    control: ControlAddress | None = None
    public: Address | None = None


@dataclass(frozen=True, slots=True)
class Runner:
    """What the runner said of itself just now."""

    phase: RunnerPhase
    generation: int
    seq: int
    working: bool = False
    quiet: bool = False  # takes no clients
    stopping: bool = False  # is ending: a manager asked for it, or a signal came
    background: int = 0  # tasks that run beside the turns
    waiting_for: WaitingFor | None = None
    agent_pid: int | None = None
    exit_code: int | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """Everything outside the record that a decision needs. `runner` is None when it did not answer."""

    sandbox: Sandbox | None = None
    runner: Runner | None = None
    route: Route = Route.ABSENT
    attached: bool = False  # this manager's relay follows the runner
    probes_failed: int = 0  # in a row
    watched_since: datetime | None = None  # nobody looked before: a deadline cannot have passed unseen
