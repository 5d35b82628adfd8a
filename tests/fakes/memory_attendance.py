"""The `AttendanceBoard` port in memory. Several keepers may share one, as managers share Redis."""

from collections.abc import Mapping
from uuid import UUID

from jelmore.session.errors import DependencyError


class MemoryAttendance:
    """`away` is the absence of Redis. Nothing expires: readers check the age of what they read."""

    def __init__(self) -> None:
        self.away = False
        self.said: dict[UUID, dict[str, str]] = {}

    async def put(self, session_id: UUID, manager: str, text: str, ttl_s: int) -> None:
        self._check()
        assert ttl_s > 0
        said = self.said.setdefault(session_id, {})
        said.pop(manager, None)
        if text:
            said[manager] = text

    async def read(self, session_id: UUID) -> Mapping[str, str]:
        self._check()
        return dict(self.said.get(session_id, {}))

    async def close(self) -> None:
        """Nothing to release."""

    def _check(self) -> None:
        if self.away:
            raise DependencyError("redis", "away")
