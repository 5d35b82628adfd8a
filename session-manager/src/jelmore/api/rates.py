"""Rate limit of requests per API key, so that one caller in a loop cannot starve the others.

All managers take from the same buckets, in Redis. While Redis is away, each manager counts by itself: a caller then
gets the limit once per manager.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Final, Protocol

from jelmore.session.errors import CapacityError

_MAX_BUCKETS: Final = 10_000


class RateLimitedError(CapacityError):
    """The caller has exceeded its requests per minute."""

    code: ClassVar[str] = "rate_limited"


class Shared(Protocol):
    """The buckets of all managers."""

    async def take(self, key: str, per_minute: int) -> float | None:
        """Take one request; return how many are left, negative if none was, None if the buckets cannot be reached."""


class RateLimit:
    """One token bucket per key: bursts of `per_minute`, refilled evenly. 0 means no limit."""

    def __init__(
        self, per_minute: int, shared: Shared | None = None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_minute = per_minute
        self._shared = shared
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, when)

    async def take(self, key: str) -> dict[str, str]:
        """Count a request; return the `RateLimit-*` headers. Raises RateLimitedError."""
        if self._per_minute == 0:
            return {}
        left = await self._shared.take(key, self._per_minute) if self._shared else None
        if left is None:
            left = self._take_here(key)
        if left < 0:
            wait_s = max(1, round(-left * 60 / self._per_minute + 0.5))
            raise RateLimitedError(f"more than {self._per_minute} requests a minute", retry_after_s=wait_s)
        return self._headers(left)

    def limit_headers(self) -> dict[str, str]:
        """Return the `RateLimit-*` headers of a refused request."""
        return self._headers(0) if self._per_minute else {}

    def _take_here(self, key: str) -> float:
        """Take a request from this process's bucket; return how many are left, negative if there was none."""
        now, per_second = self._now(), self._per_minute / 60
        tokens, since = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - since) * per_second)
        left = tokens - 1
        self._buckets[key] = (left if left >= 0 else tokens, now)
        if len(self._buckets) > _MAX_BUCKETS:
            self._buckets.popitem(last=False)  # least recently used, so probably full again
        return left

    def _headers(self, left: float) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self._per_minute),
            "RateLimit-Remaining": str(int(left)),
            "RateLimit-Reset": str(round((self._per_minute - left) * 60 / self._per_minute)),
        }
