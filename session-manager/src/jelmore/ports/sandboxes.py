"""The container engine."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jelmore.session.limits import Limits
from jelmore.session.world import Sandbox


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """What one container is made from."""

    session_id: UUID
    generation: int
    limits: Limits
    has_output: bool = False

    @property
    def first_start(self) -> bool:
        """Whether the session has nothing to lose yet: only then may a missing workspace be created."""
        return self.generation == 1 and not self.has_output


@dataclass(frozen=True, slots=True)
class FoundSandbox:
    """A container that carries our labels, whether or not any record knows it."""

    session_id: UUID
    sandbox: Sandbox
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something that no sandbox uses. What is not `removable` is only reported."""

    kind: str
    name: str
    why: str
    removable: bool = True


class Sandboxes(Protocol):
    """The engine. The only place that knows what a container is made of.

    Verbs that change a sandbox take its id, so a late call cannot reach a successor. Reading changes nothing.
    """

    async def check(self) -> None:
        """Return when the engine answers and can start a session. RefusedError names a missing image."""

    async def observe(self, session_id: UUID) -> Sandbox | None:
        """Return the newest sandbox of a session."""

    async def found(self) -> Sequence[FoundSandbox]:
        """Return every sandbox of this installation, older generations included."""

    async def start(self, spec: SandboxSpec) -> None:
        """Create what is missing (volume, sockets' folder, container) and start it. Any number of times.

        Raises WorkspaceLostError when the volume is gone and this is not the first start, RefusedError when the volume
        belongs to another installation.
        """

    async def pause(self, sandbox_id: str) -> None:
        """Pause every process of the sandbox. Paused or absent already is success."""

    async def unpause(self, sandbox_id: str) -> None:
        """Let a paused sandbox go on. Running or absent already is success."""

    async def remove(self, sandbox_id: str) -> None:
        """Remove this sandbox, running or not, and its sockets; keep the volume. Absent is success."""

    async def has_workspace(self, session_id: UUID) -> bool:
        """Return whether the session's volume exists and belongs to this installation."""

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's volume: the workspace, the conversation and the journal. Absent is success.

        Raises ConflictError while a sandbox uses it.
        """

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions whose volume exists."""

    async def leftovers(self) -> Sequence[Leftover]:
        """Return what no sandbox uses, and what carries our labels but cannot be read."""

    async def clear(self, leftover: Leftover) -> None:
        """Remove a leftover. Absent is success."""

    async def log_tail(self, session_id: UUID, lines: int) -> tuple[str, ...]:
        """Return the last lines the runner printed; empty when there is no container."""

    def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        """Yield the journal of a session whose container does not run, in pieces; none when there is no journal."""

    async def free_bytes(self) -> int | None:
        """Return the free disk where volumes are; None when that file system cannot be seen from here."""

    def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container may have changed. Ends when the engine's stream ends; may miss some."""

    async def close(self) -> None:
        """Release connections."""
