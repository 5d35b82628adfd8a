"""`Sandboxes` in memory: what the engine would keep, and the callbacks to break it with."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import Address, ControlAddress, FoundSandbox, Leftover, SandboxSpec
from jelmore.session.errors import ConflictError, DependencyError, RefusedError, WorkspaceLostError
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice
from jelmore.session.world import Sandbox, SandboxState

MAX_CHANGES = 10_000


@dataclass
class FakeSandboxes:
    """At most one container per session and generation, as with the engine. `away` makes every call fail."""

    sandboxes: dict[UUID, dict[int, Sandbox]] = field(default_factory=dict)
    volumes: dict[UUID, bytes] = field(default_factory=dict)
    foreign: set[UUID] = field(default_factory=set)  # sessions whose volume is another installation's
    left: list[Leftover] = field(default_factory=list)
    logs: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    away: bool = False
    made_from: str = "image-1"
    free: int | None = None  # bytes of disk
    starts: list[SandboxSpec] = field(default_factory=list)
    made: dict[str, datetime] = field(default_factory=dict)
    count: int = 0
    _changed: "asyncio.Queue[UUID]" = field(default_factory=lambda: asyncio.Queue(MAX_CHANGES))

    async def check(self) -> None:
        self._answer()

    async def recipe(self, choice: SandboxChoice = AS_ALL) -> str:
        self._answer()
        return " ".join([self.made_from, *choice.snapshot().values()])

    async def observe(self, session_id: UUID, generation: int | None = None) -> Sandbox | None:
        self._answer()
        expected = self.sandboxes.get(session_id, {}).get(generation) if generation is not None else None
        return expected or self._newest(session_id)

    async def found(self) -> Sequence[FoundSandbox]:
        self._answer()
        return [
            FoundSandbox(session_id, sandbox, self.made[sandbox.id])
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
        if spec.generation not in sandboxes:
            self._claim(spec)
            self.count += 1
            control = ControlAddress(
                f"unix:/fake/{spec.session_id}/{self.count}/control.sock", spec.session_id, spec.generation
            )
            public = Address(f"unix:/fake/{spec.session_id}/{self.count}/runner.sock")
            name = f"fake-{spec.session_id}-{spec.generation}-{self.count}"
            sandbox = Sandbox(spec.generation, SandboxState.CREATED, name, control=control, public=public)
            sandboxes[spec.generation] = sandbox
            self.made[sandbox.id] = datetime.now(UTC)
        if sandboxes[spec.generation].state is SandboxState.CREATED:
            self.starts.append(spec)
            self._put(spec.session_id, replace(sandboxes[spec.generation], state=SandboxState.RUNNING))

    async def pause(self, sandbox_id: str) -> None:
        self._answer()
        self._turn(sandbox_id, SandboxState.RUNNING, SandboxState.PAUSED)

    async def unpause(self, sandbox_id: str) -> None:
        self._answer()
        self._turn(sandbox_id, SandboxState.PAUSED, SandboxState.RUNNING)

    async def remove(self, sandbox_id: str) -> None:
        self._answer()
        session_id = self.session_of(sandbox_id)
        if session_id is not None:
            kept = {at: each for at, each in self.sandboxes[session_id].items() if each.id != sandbox_id}
            self.sandboxes[session_id] = kept
            if not kept:
                del self.sandboxes[session_id]
            self._notify(session_id)

    async def has_workspace(self, session_id: UUID) -> bool:
        self._answer()
        return session_id in self.volumes and session_id not in self.foreign

    async def erase(self, session_id: UUID) -> None:
        self._answer()
        if self.sandboxes.get(session_id):
            raise ConflictError("the workspace is in use")
        self.volumes.pop(session_id, None)

    async def kept(self) -> Sequence[UUID]:
        self._answer()
        return [session_id for session_id in self.volumes if session_id not in self.foreign]

    async def leftovers(self) -> Sequence[Leftover]:
        self._answer()
        return list(self.left)

    async def clear(self, leftover: Leftover) -> None:
        self._answer()
        self.left = [each for each in self.left if each.name != leftover.name]

    async def log_tail(self, sandbox_id: str, lines: int) -> tuple[str, ...]:
        self._answer()
        session_id = self.session_of(sandbox_id)
        return self.logs.get(session_id, ())[-lines:] if session_id is not None else ()

    async def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        self._answer()
        yield self.volumes.get(session_id, b"")

    async def free_bytes(self) -> int | None:
        self._answer()
        return self.free

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
        self._notify(session_id)

    def control(self, session_id: UUID) -> ControlAddress:
        """Return the control address of the session's newest container."""
        sandbox = self._newest(session_id)
        assert sandbox is not None
        assert sandbox.control is not None
        return sandbox.control

    def _newest(self, session_id: UUID) -> Sandbox | None:
        sandboxes = self.sandboxes.get(session_id)
        return sandboxes[max(sandboxes)] if sandboxes else None

    def session_of(self, sandbox_id: str) -> UUID | None:
        """Return the session of a sandbox that is there."""
        everything = ((owner, each.id) for owner, boxes in self.sandboxes.items() for each in boxes.values())
        return next((owner for owner, name in everything if name == sandbox_id), None)

    def _claim(self, spec: SandboxSpec) -> None:
        if spec.session_id in self.foreign:
            raise RefusedError("docker", "the volume belongs to another installation")
        if spec.session_id not in self.volumes:
            if not spec.first_start:
                raise WorkspaceLostError(spec.session_id)
            self.volumes[spec.session_id] = b""

    def _turn(self, sandbox_id: str, before: SandboxState, after: SandboxState) -> None:
        session_id = self.session_of(sandbox_id)
        sandbox = self._newest(session_id) if session_id is not None else None
        if session_id is not None and sandbox is not None and sandbox.id == sandbox_id and sandbox.state is before:
            self._put(session_id, replace(sandbox, state=after))

    def _put(self, session_id: UUID, sandbox: Sandbox) -> None:
        self.sandboxes[session_id][sandbox.generation] = sandbox
        self._notify(session_id)

    def _notify(self, session_id: UUID) -> None:
        if not self._changed.full():  # the port may miss some
            self._changed.put_nowait(session_id)

    def _answer(self) -> None:
        if self.away:
            raise DependencyError("docker", "the fake engine is away")
