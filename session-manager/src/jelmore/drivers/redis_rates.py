"""Token buckets in Redis, one per API key. The server's clock counts, so managers on several hosts agree."""

from typing import Any, Final

from jelmore.drivers.redis_calls import client_for_calls, deadline

# A bucket holds its tokens and when they were counted. It expires when it would be full again, so an idle key costs
# nothing. A refused request takes nothing. The result is text: Lua numbers become integers on the way.
_TAKE: Final = """
local per_minute = tonumber(ARGV[1])
local clock = redis.call('TIME')
local now = tonumber(clock[1]) + tonumber(clock[2]) / 1e6
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens, at = tonumber(kept[1]) or per_minute, tonumber(kept[2]) or now
tokens = math.min(per_minute, tokens + math.max(0, now - at) * per_minute / 60) - 1
if tokens >= 0 then
    redis.call('HSET', KEYS[1], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
    redis.call('EXPIRE', KEYS[1], 120)
end
return string.format('%.6f', tokens)
"""


class RedisRates:
    """The `RateStore` port."""

    def __init__(self, url: str, *, connections: int = 10, timeout_s: float = 1) -> None:
        self._client: Any = client_for_calls(url, connections=connections, timeout_s=timeout_s)
        self._take = self._client.register_script(_TAKE)
        self._timeout_s = timeout_s

    async def take(self, key: str, per_minute: int) -> float:
        """Take one request from the key's bucket; see the port."""
        async with deadline(self._timeout_s):
            return float(await self._take(keys=[f"rate:{key}"], args=[per_minute]))

    async def close(self) -> None:
        """Close the connections."""
        async with deadline(self._timeout_s):
            await self._client.aclose()
