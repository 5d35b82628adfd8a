"""The `Records` port in memory."""

from uuid import UUID

from jelmore.session.errors import DependencyError
from jelmore.session.record import Session


class MemoryRecords:
    """Keeps the newest record of each session. `wipe` is what a restart of a cache does."""

    def __init__(self) -> None:
        self.away = False
        self._kept: dict[UUID, Session] = {}

    def wipe(self) -> None:
        self._kept.clear()

    async def get(self, session_id: UUID) -> Session | None:
        self._here()
        return self._kept.get(session_id)

    async def put(self, session: Session) -> None:
        self._here()
        kept = self._kept.get(session.id)
        if kept is None or kept.version < session.version:
            self._kept[session.id] = session

    async def drop(self, session_id: UUID) -> None:
        self._here()
        self._kept.pop(session_id, None)

    async def close(self) -> None:
        pass

    def _here(self) -> None:
        if self.away:
            raise DependencyError("redis", "away")
