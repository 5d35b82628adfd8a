"""The container engine."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jelmore.session.limits import Limits
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice
from jelmore.session.world import Sandbox


@dataclass(frozen=True, slots=True)
class SandboxSpec:
    """The parameters of one container. `session_id` may be reserved for a session that does not exist yet."""

    session_id: UUID
    generation: int
    limits: Limits
    has_output: bool = False
    first_generation: int = 1  # the generation that starts the session for the first time
    choice: SandboxChoice = AS_ALL
    ahead: bool = False  # for the warm pool: started before its session exists

    @property
    def first_start(self) -> bool:
        """Whether the session has no data yet. Only then may a missing workspace be created."""
        return self.generation <= self.first_generation and not self.has_output


@dataclass(frozen=True, slots=True)
class FoundSandbox:
    """A container with Jelmore's labels, whether or not a session record exists for it."""

    session_id: UUID
    sandbox: Sandbox
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Leftover:
    """An object that no sandbox uses. It is only reported when it is not `removable`."""

    kind: str
    name: str
    why: str
    removable: bool = True


class Sandboxes(Protocol):
    """The container engine. No other port knows how a container is configured, or where its addresses lead.

    Methods on a sandbox take its id, so a late call cannot reach a later sandbox of the same session. Methods on a
    workspace take the id of its session. Methods that read change nothing.

    No method requires that a session with that id exists: a sandbox may be started for the id of a session that is
    created later.
    """

    async def check(self) -> None:
        """Return when the engine answers and can start a session. Raises RefusedError naming a missing image."""

    async def recipe(self, choice: SandboxChoice = AS_ALL) -> str:
        """Return what identifies how a sandbox is made now, beside its limits: the image and the configuration.

        A sandbox that was started with another recipe differs from a new one. Raises what `check` raises.
        """

    async def observe(self, session_id: UUID, generation: int | None = None) -> Sandbox | None:
        """Return the newest sandbox of a session; None when there is none.

        With the `generation` that it should be of, a sandbox of this one is returned without a look for newer ones.
        """

    async def found(self) -> Sequence[FoundSandbox]:
        """Return every sandbox of this installation, older generations included."""

    async def start(self, spec: SandboxSpec) -> None:
        """Create what is missing (volume, socket folder, container) and start it. May run any number of times.

        Raises WorkspaceLostError when the volume is gone and this is not the first start, RefusedError when the volume
        belongs to another installation.
        """

    async def pause(self, sandbox_id: str) -> None:
        """Pause every process of the sandbox. Succeeds when it is paused or absent already."""

    async def unpause(self, sandbox_id: str) -> None:
        """Unpause the sandbox. Succeeds when it is running or absent already."""

    async def remove(self, sandbox_id: str) -> None:
        """Remove this sandbox, running or not, and its sockets; keep the volume. Succeeds when it is absent."""

    async def has_workspace(self, session_id: UUID) -> bool:
        """Return whether the session's volume exists and belongs to this installation."""

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's volume: the workspace, the conversation and the journal. Succeeds when it is absent.

        Raises ConflictError while a sandbox uses it.
        """

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions whose volume exists."""

    async def leftovers(self) -> Sequence[Leftover]:
        """Return objects that no sandbox uses, and objects with Jelmore's labels that cannot be parsed."""

    async def clear(self, leftover: Leftover) -> None:
        """Remove a leftover. Succeeds when it is absent."""

    async def log_tail(self, sandbox_id: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that the sandbox's runner printed; empty when it is absent."""

    def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        """Yield the journal of a session whose container does not run, in pieces; nothing when there is no journal."""

    async def free_bytes(self) -> int | None:
        """Return the free bytes of the file system of the volumes; None when it is not accessible from this process."""

    def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container may have changed. Ends when the engine's stream ends; may miss changes."""

    async def close(self) -> None:
        """Release connections."""
