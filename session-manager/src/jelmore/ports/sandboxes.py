"""The container engine."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from jelmore.session.limits import Limits
from jelmore.session.world import Sandbox


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
