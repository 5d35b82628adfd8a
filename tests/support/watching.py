"""A list of watched sessions that tests change."""

import asyncio
from collections.abc import Mapping
from uuid import UUID


class WatchedList:
    """The `WatchList` port."""

    def __init__(self) -> None:
        self.sessions: dict[UUID, int] = {}
        self._changed = asyncio.Event()

    def add(self, session_id: UUID, seen: int = 0) -> None:
        self.sessions[session_id] = seen
        self._changed.set()

    def remove(self, session_id: UUID) -> None:
        del self.sessions[session_id]
        self._changed.set()

    def wanted(self) -> Mapping[UUID, int]:
        return dict(self.sessions)

    async def changed(self) -> None:
        await self._changed.wait()
        self._changed.clear()
