"""Redis: who has a session open at each manager. A cache with a time to live; nothing else holds it."""

from collections.abc import Mapping
from typing import Protocol
from uuid import UUID


class AttendanceBoard(Protocol):
    """What each manager says about the people of a session, for `ttl_s` at most."""

    async def put(self, session_id: UUID, manager: str, text: str, ttl_s: int) -> None:
        """Replace what `manager` says about a session; an empty text removes it. May run twice."""

    async def read(self, session_id: UUID) -> Mapping[str, str]:
        """Return what each manager says about a session, by manager. It may be older than its time to live."""

    async def close(self) -> None:
        """Release connections."""
