"""The `RateStore` port in memory."""

import time


class MemoryRates:
    """Buckets that refill by this process's clock."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    async def take(self, key: str, per_minute: int) -> float:
        now = time.monotonic()
        tokens, at = self._buckets.get(key, (float(per_minute), now))
        left = min(per_minute, tokens + (now - at) * per_minute / 60) - 1
        if left >= 0:
            self._buckets[key] = left, now
        return left

    async def close(self) -> None:
        """Nothing to release."""
