"""The `Events` port in memory."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from jelmore.ports import StoredEvent
from jelmore.session.errors import DependencyError


@dataclass
class _Bus:
    """What all who publish share."""

    published: list[StoredEvent] = field(default_factory=list)
    made: bool = False
    made_before: int = 0
    to_fill: str | None = None


class MemoryEvents:
    """Keeps what was published, each event once. `wipe` is what a server that lost its disk does."""

    def __init__(self, bus: _Bus | None = None) -> None:
        self.away = False
        self.most: int | None = None  # how many it acknowledges before it is too late
        self.batches_bytes: list[int] = []
        self._bus = bus or _Bus()
        self._ready = False

    def another(self) -> "MemoryEvents":
        """Return another process's view of the same bus."""
        return MemoryEvents(self._bus)

    @property
    def published(self) -> list[StoredEvent]:
        return self._bus.published

    def wipe(self) -> None:
        self._bus.published.clear()
        self._bus.made = False

    async def check(self) -> None:
        if self.away or not self._bus.made:
            self._ready = False
            raise DependencyError("nats", "away" if self.away else "the stream is not there")

    async def connect(self) -> str | None:
        if not self._bus.made and not self.away and not self._ready:
            self._bus.made_before += 1
            self._bus.made, self._bus.to_fill = True, f"made {self._bus.made_before}"
        await self.check()
        self._ready = True
        return self._bus.to_fill

    async def publish(self, events: Sequence[StoredEvent]) -> int:
        await self.check()
        self.batches_bytes.append(sum(len(json.dumps(dict(event.payload))) for event in events))
        events = events[: self.most]
        known = {(event.session_id, event.seq, event.again) for event in self.published}
        self.published.extend(event for event in events if (event.session_id, event.seq, event.again) not in known)
        return len(events)

    async def filled(self) -> None:
        await self.check()
        self._bus.to_fill = None

    async def purge(self, session_id: UUID) -> int:
        await self.check()
        left = [event for event in self.published if event.session_id != session_id]
        purged = len(self.published) - len(left)
        self._bus.published[:] = left
        return purged

    async def close(self) -> None:
        pass
