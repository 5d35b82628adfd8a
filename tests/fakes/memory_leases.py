"""The `Leases` port in memory."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from jelmore.session.errors import DependencyError
from jelmore.session.states import Presence
from tests.fakes.memory_store import MemoryStore


@dataclass
class LeaseTable:
    """What the holders share: who has which lease, and until when on the loop's clock."""

    held: dict[str, tuple[str, float]] = field(default_factory=dict)

    def holder(self, name: str) -> str | None:
        holder, until = self.held.get(name, (None, 0.0))
        return holder if until > asyncio.get_running_loop().time() else None


class MemoryLeases:
    """One holder's view of the table."""

    def __init__(self, store: MemoryStore, table: LeaseTable, holder: str) -> None:
        self.away = False
        self._store = store
        self._table = table
        self._holder = holder

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        self._here()
        until = asyncio.get_running_loop().time() + seconds
        mine = [name for name in names if self._table.holder(name) in {None, self._holder}]
        self._table.held.update((name, (self._holder, until)) for name in mine)
        return frozenset(mine)

    async def give(self, names: Sequence[str]) -> None:
        self._here()
        for name in names:
            if self._table.held.get(name, ("", 0))[0] == self._holder:
                del self._table.held[name]

    async def elsewhere(self, name: str) -> bool:
        self._here()
        return self._table.holder(name) not in {None, self._holder}

    async def unfollowed(self) -> Sequence[UUID]:
        self._here()
        return [
            session.id
            for session in self._store.sessions.values()
            if not session.ended
            and session.presence is Presence.AWAKE
            and session.container_id is not None
            and self._table.holder(f"relay/{session.id}") is None
        ]

    async def tidy(self) -> None:
        self._here()

    async def close(self) -> None:
        pass

    def _here(self) -> None:
        if self.away:
            raise DependencyError("postgres", "away")
