"""Rate limit of requests per API key, so that one caller in a loop cannot starve the others.

Buckets are kept in this process: with several managers, a caller gets the limit once per manager.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Final

from jelmore.session.errors import CapacityError

_MOST_BUCKETS: Final = 10_000


class RateLimitedError(CapacityError):
    """The caller has exceeded its requests per minute."""

    code: ClassVar[str] = "rate_limited"


class RateLimit:
    """One token bucket per key: bursts of `per_minute`, refilled evenly. 0 means no limit."""

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key -> (tokens, when)

    def take(self, key: str) -> dict[str, str]:
        """Count a request; return the `RateLimit-*` headers. Raises RateLimitedError."""
        if self._per_minute == 0:
            return {}
        now, per_second = self._now(), self._per_minute / 60
        tokens, since = self._buckets.pop(key, (float(self._per_minute), now))
        tokens = min(self._per_minute, tokens + (now - since) * per_second)
        taken = tokens >= 1
        tokens -= taken
        self._buckets[key] = (tokens, now)
        if len(self._buckets) > _MOST_BUCKETS:
            self._buckets.popitem(last=False)  # least recently used, so probably full again
        if not taken:
            wait_s = max(1, round((1 - tokens) / per_second + 0.5))
            raise RateLimitedError(f"more than {self._per_minute} requests a minute", retry_after_s=wait_s)
        return self._headers(tokens, per_second)

    def limit_headers(self) -> dict[str, str]:
        """Return the `RateLimit-*` headers of a refused request."""
        return self._headers(0, self._per_minute / 60) if self._per_minute else {}

    def _headers(self, tokens: float, per_second: float) -> dict[str, str]:
        return {
            "RateLimit-Limit": str(self._per_minute),
            "RateLimit-Remaining": str(int(tokens)),
            "RateLimit-Reset": str(round((self._per_minute - tokens) / per_second)),
        }
