"""Session records in Redis, for reads without SQL. A cache: PostgreSQL is always written first."""

from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from jelmore.drivers.redis_calls import client_for_calls, deadline
from jelmore.session.record import Session

_SHAPE: Final = "1"
"""Format version, part of the key: code with another record format finds nothing instead of misreading a record."""

_PUT_IF_NEWER: Final = """
local kept = redis.call('HGET', KEYS[1], 'version')
if kept and tonumber(kept) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'record', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""

_RECORD: Final = TypeAdapter(Session)


class RedisRecords:
    """The `Records` port. A record never replaces a newer one, whatever the order of two writes."""

    def __init__(self, url: str, *, ttl_s: int = 60, connections: int = 10, timeout_s: float = 1) -> None:
        self._client: Any = client_for_calls(url, connections=connections, timeout_s=timeout_s)
        self._put = self._client.register_script(_PUT_IF_NEWER)
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s

    async def get(self, session_id: UUID) -> Session | None:
        """Return the cached record, None when there is none or it cannot be read."""
        async with deadline(self._timeout_s):
            text = await self._client.hget(_key(session_id), "record")
        if text is None:
            return None
        try:
            return _RECORD.validate_json(text)
        except ValidationError:
            return None  # incomplete or foreign: the next read from PostgreSQL replaces it

    async def put(self, session: Session) -> None:
        """Cache a record unless a newer one is cached. May run twice."""
        values: list[int | str] = [
            session.version,
            _RECORD.dump_json(session, exclude={"stored"}).decode(),
            self._ttl_s,
        ]
        async with deadline(self._timeout_s):
            await self._put(keys=[_key(session.id)], args=values)

    async def drop(self, session_id: UUID) -> None:
        """Remove a record. Absent is success."""
        async with deadline(self._timeout_s):
            await self._client.delete(_key(session_id))

    async def close(self) -> None:
        """Close the connections."""
        async with deadline(self._timeout_s):
            await self._client.aclose()


def _key(session_id: UUID) -> str:
    return f"session:{session_id}:record:{_SHAPE}"
