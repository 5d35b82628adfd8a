"""Containers, and the runners inside them."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jelmore.session.limits import Limits
from jelmore.session.output import Output
from jelmore.session.world import Sandbox
from jelmore_protocol.control import (
    Change,
    Health,
    Init,
    InputAccepted,
    InputRequest,
    PermissionAnswer,
    Quiet,
    Stop,
    WorkspaceLimit,
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener is: `unix:/path` or `tcp:host:port`, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What one container is made from."""

    session_id: UUID
    generation: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class FoundSandbox:
    """A container that carries our labels, whether or not any record knows it."""

    session_id: UUID
    sandbox: Sandbox
    created_at: datetime


class Sandboxes(Protocol):
    """The engine. The only place that knows what a container is made of."""

    async def check(self) -> None:
        """Return when the engine answers and can start a session. RefusedError names a missing image."""

    async def observe(self, session_id: UUID) -> Sandbox | None:
        """Return the newest container of a session."""

    async def found(self) -> Sequence[FoundSandbox]:
        """Return the newest container of each session of this installation; older ones may be removed on the way."""

    async def start(self, spec: SandboxSpec) -> None:
        """Create what is missing (volume, sockets' folder, container) and start it. Any number of times."""

    async def pause(self, session_id: UUID) -> None:
        """Pause every process of the container. Frozen or absent already is success."""

    async def unpause(self, session_id: UUID) -> None:
        """Let a paused container go on. Running or absent already is success."""

    async def remove(self, session_id: UUID) -> None:
        """Remove every container and socket of the session, running or not; keep its volume. Absent is success."""

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's volume too: the workspace, the conversation and the journal. Absent is success."""

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions whose volume exists."""

    async def sockets(self) -> Sequence[UUID]:
        """Return the sessions that have a folder for sockets, whether or not anything listens there."""

    async def log_tail(self, session_id: UUID, lines: int) -> tuple[str, ...]:
        """Return the last lines the runner printed; empty when there is no container."""

    async def journal(self, session_id: UUID) -> bytes:
        """Return the journal from the volume of a session whose container does not run; empty when there is none."""

    async def free_bytes(self) -> int | None:
        """Return the free disk where volumes are; None when that file system cannot be seen from here."""

    def control(self, session_id: UUID) -> Address:
        """Return where the runner's control socket is."""

    def public(self, session_id: UUID) -> Address:
        """Return where the runner's public socket is."""

    def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container may have changed. Ends when the engine's stream ends; may miss some."""

    async def close(self) -> None:
        """Release connections."""


class RelayBreak(Exception):  # noqa: N818 - an event of the relay, not a fault
    """The relay's connection ended. Attach again from the stored seq."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message still being written: the frame's JSON text."""

    text: str


class Runners(Protocol):
    """What the manager says to a runner on its control socket. `at` comes from `Sandboxes.control`.

    Beside DependencyError these raise ConflictError, UnknownRequestError, AlreadyAnsweredError, SessionEndedError,
    TooLargeError, WorkspaceFullError and CapacityError (the queue is full), as the runner's refusal says.
    """

    async def health(self, at: Address) -> Health:
        """Return what the runner says of itself."""

    async def init(self, at: Address, init: Init) -> Health:
        """Tell a dormant runner who it is. The same generation twice changes nothing."""

    async def input(self, at: Address, request: InputRequest) -> InputAccepted:
        """Hand over a prompt; returns when it is journaled. The same id twice is one prompt."""

    async def interrupt(self, at: Address) -> None:
        """Stop the running turn, if any."""

    async def answer(self, at: Address, request_id: str, answer: PermissionAnswer) -> InputAccepted:
        """Answer a pending permission or question. The first answer wins."""

    async def set_model(self, at: Address, change: Change) -> None:
        """Change the model of the running conversation."""

    async def set_permission_mode(self, at: Address, change: Change) -> None:
        """Change the permission mode of the running conversation."""

    async def limit_workspace(self, at: Address, limit: WorkspaceLimit) -> None:
        """Change what the session's volume may hold. Any number of times."""

    async def quiet(self, at: Address, quiet: Quiet) -> None:
        """Send public clients away before a freeze, or take them again. ConflictError while the agent works."""

    async def stop(self, at: Address, stop: Stop) -> None:
        """Begin to end the agent; returns at once. Twice changes nothing."""

    def relay(self, at: Address, after: int) -> AsyncIterator[list[Output] | Delta]:
        """Yield what the runner journals after seq `after`: batches of consecutive output, and deltas.

        A batch holds what has arrived, at most 500 outputs or 4 MiB. Raises RelayBreak when the connection ends,
        FaultError when the numbers do not continue.
        """

    async def close(self) -> None:
        """Release connections."""
