"""The buckets that all managers share, bypassed while Redis is away."""

from jelmore.control.breaker import CircuitBreaker
from jelmore.ports.rates import RateStore
from jelmore.session.errors import JelmoreError


class SharedRates:
    """Takes requests from the shared buckets."""

    def __init__(self, store: RateStore, redis: CircuitBreaker) -> None:
        self._store = store
        self._redis = redis

    async def take(self, key: str, per_minute: int) -> float | None:
        """Take one request; return how many are left (see `RateStore.take`), None while Redis is away or full."""
        try:
            return await self._redis.call(lambda: self._store.take(key, per_minute))
        except JelmoreError:
            return None
