"""`Sandboxes` in memory: what the engine would keep, and the hands to break it with."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from jelmore.ports import Address, BoxSpec, FoundBox
from jelmore.session.errors import DependencyError
from jelmore.session.world import Box, BoxState

MOST_CHANGES = 10_000


@dataclass
class FakeSandboxes:
    """At most one container per session and generation, as with the engine. `away` makes every call fail."""

    boxes: dict[UUID, dict[int, Box]] = field(default_factory=dict)
    volumes: dict[UUID, bytes] = field(default_factory=dict)
    folders: set[UUID] = field(default_factory=set)  # for sockets
    logs: dict[UUID, tuple[str, ...]] = field(default_factory=dict)
    away: bool = False
    free: int | None = None  # bytes of disk
    starts: list[BoxSpec] = field(default_factory=list)
    made: dict[str, datetime] = field(default_factory=dict)
    _changed: "asyncio.Queue[UUID]" = field(default_factory=lambda: asyncio.Queue(MOST_CHANGES))

    async def check(self) -> None:
        self._answer()

    async def look(self, session_id: UUID) -> Box | None:
        self._answer()
        return self._newest(session_id)

    async def found(self) -> Sequence[FoundBox]:
        self._answer()
        return [
            FoundBox(session_id, box, self.made[box.container_id])
            for session_id, boxes in self.boxes.items()
            for box in boxes.values()
        ]

    async def start(self, spec: BoxSpec) -> None:
        self._answer()
        boxes = self.boxes.setdefault(spec.session_id, {})
        if any(generation > spec.generation for generation in boxes):
            return
        for older in [generation for generation in boxes if generation < spec.generation]:
            del boxes[older]
        self.volumes.setdefault(spec.session_id, b"")
        self.folders.add(spec.session_id)
        if spec.generation not in boxes:
            box = Box(spec.generation, BoxState.CREATED, f"fake-{spec.session_id}-{spec.generation}")
            boxes[spec.generation] = box
            self.made[box.container_id] = datetime.now(UTC)
        if boxes[spec.generation].state is BoxState.CREATED:
            self.starts.append(spec)
            self._put(spec.session_id, replace(boxes[spec.generation], state=BoxState.RUNNING))

    async def freeze(self, session_id: UUID) -> None:
        self._answer()
        self._turn(session_id, BoxState.RUNNING, BoxState.PAUSED)

    async def thaw(self, session_id: UUID) -> None:
        self._answer()
        self._turn(session_id, BoxState.PAUSED, BoxState.RUNNING)

    async def remove(self, session_id: UUID) -> None:
        self._answer()
        self.folders.discard(session_id)
        if self.boxes.pop(session_id, None):
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
        if not self.boxes.get(session_id):
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
        box = self._newest(session_id)
        assert box is not None
        self._put(session_id, replace(box, state=BoxState.EXITED, exit_code=exit_code, oom=oom))

    def vanish(self, session_id: UUID) -> None:
        """Take the containers away as somebody with `docker rm` would."""
        self.boxes.pop(session_id, None)
        self._tell(session_id)

    def _newest(self, session_id: UUID) -> Box | None:
        boxes = self.boxes.get(session_id)
        return boxes[max(boxes)] if boxes else None

    def _turn(self, session_id: UUID, before: BoxState, after: BoxState) -> None:
        box = self._newest(session_id)
        if box is not None and box.state is before:
            self._put(session_id, replace(box, state=after))

    def _put(self, session_id: UUID, box: Box) -> None:
        self.boxes[session_id][box.generation] = box
        self._tell(session_id)

    def _tell(self, session_id: UUID) -> None:
        if not self._changed.full():  # the port may miss some
            self._changed.put_nowait(session_id)

    def _answer(self) -> None:
        if self.away:
            raise DependencyError("docker", "the fake engine is away")
