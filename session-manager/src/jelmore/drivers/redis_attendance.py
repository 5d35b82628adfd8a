"""`AttendanceBoard` in Redis: a hash per session with a field per manager, which expires by itself."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from jelmore.drivers.redis_calls import attendance_key, client_for_calls, deadline


class RedisAttendance:
    """The `AttendanceBoard` port. A field of a manager that has died is left until the hash expires."""

    def __init__(self, url: str, *, connections: int = 4, timeout_s: float = 1) -> None:
        self._client: Any = client_for_calls(url, connections=connections, timeout_s=timeout_s)
        self._timeout_s = timeout_s

    async def put(self, session_id: UUID, manager: str, text: str, ttl_s: int) -> None:
        """Replace what a manager says; see the port. Raises DependencyError."""
        key = attendance_key(session_id)
        async with deadline(self._timeout_s):
            if not text:
                await self._client.hdel(key, manager)
                return
            calls = self._client.pipeline(transaction=True)
            calls.hset(key, manager, text)
            calls.expire(key, ttl_s)
            await calls.execute()

    async def read(self, session_id: UUID) -> Mapping[str, str]:
        """Return what each manager says about a session. Raises DependencyError."""
        async with deadline(self._timeout_s):
            found: dict[str, str] = await self._client.hgetall(attendance_key(session_id))
            return found

    async def close(self) -> None:
        """Close the connections."""
        async with deadline(self._timeout_s):
            await self._client.aclose()
