"""The world of a session: its container, the runner inside and its route, as observed."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from jelmore.session.states import WaitingFor


class SandboxState(StrEnum):
    """The state of a container, as the engine reports it."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


class RunnerPhase(StrEnum):
    """The phase of the runner in the sandbox; mirrors `jelmore_protocol.control.Phase`."""

    DORMANT = "dormant"
    STARTING = "starting"
    READY = "ready"
    ENDED = "ended"


class AgentAhead(StrEnum):
    """What became of an agent that was started ahead; mirrors `jelmore_protocol.control.AgentAhead`."""

    NONE = "none"
    STARTING = "starting"
    CONNECTED = "connected"
    FAILED = "failed"
    USED = "used"
    DROPPED = "dropped"


class Route(StrEnum):
    """Where the session's URL leads."""

    ABSENT = "absent"
    RUNNER = "runner"
    MANAGER = "manager"  # while it is paused, hibernated or starting again


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a listener, as text: `unix:/path` or `tcp:host:port`."""

    text: str


@dataclass(frozen=True, slots=True)
class ControlAddress(Address):
    """A runner's control socket, and the session and generation that must answer there."""

    session_id: UUID
    generation: int
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One container. Its `id` differs from that of any later container of the same session."""

    generation: int
    state: SandboxState
    id: str
    exit_code: int | None = None
    oom: bool = False
    control: ControlAddress | None = None
    public: Address | None = None


@dataclass(frozen=True, slots=True)
class Runner:
    """The state that the runner has just reported."""

    phase: RunnerPhase
    generation: int
    seq: int
    working: bool = False
    draining: bool = False  # draining: accepts no clients
    stopping: bool = False  # ending, because a manager requested it or a signal arrived
    background: int = 0  # tasks that run independently of turns
    waiting_for: WaitingFor | None = None
    agent_pid: int | None = None
    agent_ahead: AgentAhead | None = None  # None: the runner is too old to start one
    exit_code: int | None = None
    error: str | None = None
    protocol: int = 0  # the newest version that it speaks
    oldest_protocol: int | None = None  # None: only `protocol`


@dataclass(frozen=True, slots=True)
class World:
    """The observed world, as far as a decision needs it. `runner` is None when the runner did not answer."""

    sandbox: Sandbox | None = None
    runner: Runner | None = None
    route: Route = Route.ABSENT
    attached: bool = False  # this manager's relay follows the runner
    delivered: bool = False  # this pass has handed the pending inputs over to the runner
    probes_failed: int = 0  # in a row
    watched_since: datetime | None = None  # when this manager began to observe: no deadline counts from before
