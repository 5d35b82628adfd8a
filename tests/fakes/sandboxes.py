"""`Sandboxes` in memory: what the engine would keep, and the callbacks to break it with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import Address, FoundSandbox, SandboxSpec
from jelmore.session.errors import DependencyError
from jelmore.session.world import Sandbox, SandboxState

MOST_CHANGES = 10_000


@dataclass
class FakeSandboxes:
    """At most one container per session and generation, as with the engine. `away` makes every call fail."""

    sandboxes: dict[UUID, dict[int, Sandbox]] = field(default_factory=dict)
    volumes: dict[UUID, bytes] = field(default_factory=dict)
    folders: set[UUID] = field(default_factory=set)  # for sockets
    logs: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    away: bool = False
    free: int | None = None  # bytes of disk
    starts: list[SandboxSpec] = field(default_factory=list)
    made: dict[str, datetime] = field(default_factory=dict)
    _changed: "asyncio.Queue[UUID]" = field(default_factory=lambda: asyncio.Queue(MOST_CHANGES))

    async def check(self) -> None:
        self._answer()

    async def observe(self, session_id: UUID) -> Sandbox | None:
        self._answer()
        return self._newest(session_id)

    async def found(self) -> Sequence[FoundSandbox]:
        self._answer()
        return [
            FoundSandbox(session_id, sandbox, self.made[sandbox.container_id])
            for session_id, sandboxes in self.sandboxes.items()
            for sandbox in sandboxes.values()
        ]

    async def start(self, spec: SandboxSpec) -> None:
        self._answer()
        sandboxes = self.sandboxes.setdefault(spec.session_id, {})
        if any(generation > spec.generation for generation in sandboxes):
            return
        for older in [generation for generation in sandboxes if generation < spec.generation]:
            del sandboxes[older]
        self.volumes.setdefault(spec.session_id, b"")
        self.folders.add(spec.session_id)
        if spec.generation not in sandboxes:
            sandbox = Sandbox(spec.generation, SandboxState.CREATED, f"fake-{spec.session_id}-{spec.generation}")
            sandboxes[spec.generation] = sandbox
            self.made[sandbox.container_id] = datetime.now(UTC)
        if sandboxes[spec.generation].state is SandboxState.CREATED:
            self.starts.append(spec)
            self._put(spec.session_id, replace(sandboxes[spec.generation], state=SandboxState.RUNNING))

    async def pause(self, session_id: UUID) -> None:
        self._answer()
        self._turn(session_id, SandboxState.RUNNING, SandboxState.PAUSED)

    async def unpause(self, session_id: UUID) -> None:
        self._answer()
        self._turn(session_id, SandboxState.PAUSED, SandboxState.RUNNING)

    async def remove(self, session_id: UUID) -> None:
        self._answer()
        self.folders.discard(session_id)
        if self.sandboxes.pop(session_id, None):
            self._tell(session_id)

    async def erase(self, session_id: UUID) -> None:
        await self.remove(session_id)
        self.volumes.pop(session_id, None)

    async def kept(self) -> Sequence[UUID]:
        self._answer()
        return list(self.volumes)

    async def sockets(self) -> Sequence[UUID]:
        self._answer()
        return list(self.folders)

    async def log_tail(self, session_id: UUID, lines: int) -> tuple[str, ...]:
        self._answer()
        if not self.sandboxes.get(session_id):
            return ()
        return self.logs.get(session_id, ())[-lines:]

    async def journal(self, session_id: UUID) -> bytes:
        self._answer()
        return self.volumes.get(session_id, b"")

    async def free_bytes(self) -> int | None:
        self._answer()
        return self.free

    def control(self, session_id: UUID) -> Address:
        return Address(f"unix:/fake/{session_id}/control.sock")

    def public(self, session_id: UUID) -> Address:
        return Address(f"unix:/fake/{session_id}/runner.sock")

    async def changes(self) -> AsyncIterator[UUID]:
        while True:
            self._answer()
            yield await self._changed.get()

    async def close(self) -> None:
        """Nothing to release."""

    # What the world does to it.

    def die(self, session_id: UUID, exit_code: int, *, oom: bool = False) -> None:
        """End the newest container."""
        sandbox = self._newest(session_id)
        assert sandbox is not None
        self._put(session_id, replace(sandbox, state=SandboxState.EXITED, exit_code=exit_code, oom=oom))

    def vanish(self, session_id: UUID) -> None:
        """Take the containers away as somebody with `docker rm` would."""
        self.sandboxes.pop(session_id, None)
        self._tell(session_id)

    def _newest(self, session_id: UUID) -> Sandbox | None:
        sandboxes = self.sandboxes.get(session_id)
        return sandboxes[max(sandboxes)] if sandboxes else None

    def _turn(self, session_id: UUID, before: SandboxState, after: SandboxState) -> None:
        sandbox = self._newest(session_id)
        if sandbox is not None and sandbox.state is before:
            self._put(session_id, replace(sandbox, state=after))

    def _put(self, session_id: UUID, sandbox: Sandbox) -> None:
        self.sandboxes[session_id][sandbox.generation] = sandbox
        self._tell(session_id)

    def _tell(self, session_id: UUID) -> None:
        if not self._changed.full():  # the port may miss some
            self._changed.put_nowait(session_id)

    def _answer(self) -> None:
        if self.away:
            raise DependencyError("docker", "the fake engine is away")
