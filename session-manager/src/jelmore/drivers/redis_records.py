"""Records of sessions in Redis, for reads that need no SQL. A cache: PostgreSQL is written first, always."""

from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from jelmore.drivers.redis_calls import client_for_calls, deadline
from jelmore.session.record import Session

_SHAPE: Final = "1"
"""Part of the key: code that reads another shape of record finds nothing here, rather than something it misreads."""

_PUT_IF_NEWER: Final = """
local kept = redis.call('HGET', KEYS[1], 'version')
if kept and tonumber(kept) > tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'record', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return 1
"""

_RECORD: Final = TypeAdapter(Session)


class RedisRecords:
    """The `Records` port. A record never replaces a newer one, in whatever order two writers arrive."""

    def __init__(self, url: str, *, ttl_s: int = 60, connections: int = 10, timeout_s: float = 1) -> None:
        self._client: Any = client_for_calls(url, connections=connections, timeout_s=timeout_s)
        self._put = self._client.register_script(_PUT_IF_NEWER)
        self._ttl_s = ttl_s
        self._timeout_s = timeout_s

    async def get(self, session_id: UUID) -> Session | None:
        """Return the kept record; None when there is none, or none that can be read."""
        async with deadline(self._timeout_s):
            text = await self._client.hget(_key(session_id), "record")
        if text is None:
            return None
        try:
            return _RECORD.validate_json(text)
        except ValidationError:
            return None  # half-written or foreign: the truth is elsewhere anyway, and replaces it

    async def put(self, session: Session) -> None:
        """Keep a record unless a newer one is kept."""
        values: list[int | str] = [
            session.version,
            _RECORD.dump_json(session, exclude={"stored"}).decode(),
            self._ttl_s,
        ]
        async with deadline(self._timeout_s):
            await self._put(keys=[_key(session.id)], args=values)

    async def drop(self, session_id: UUID) -> None:
        """Forget a record. Absent is success."""
        async with deadline(self._timeout_s):
            await self._client.delete(_key(session_id))

    async def close(self) -> None:
        """Release connections."""
        async with deadline(self._timeout_s):
            await self._client.aclose()


def _key(session_id: UUID) -> str:
    return f"session:{session_id}:record:{_SHAPE}"
