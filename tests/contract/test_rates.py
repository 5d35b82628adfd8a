"""The shared buckets of requests, on the fake and on Redis."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.rates import SharedRates
from jelmore.control.tasks import Tasks
from jelmore.drivers.redis_output import RedisOutput
from jelmore.drivers.redis_rates import RedisRates
from jelmore.ports.rates import RateStore
from tests.fakes.memory_rates import MemoryRates

pytestmark = pytest.mark.contract


class RatesContract:
    """Subclasses give the fixtures `rates` and `another`, which share their buckets."""

    async def test_two_managers_take_from_one_bucket(self, rates: RateStore, another: RateStore) -> None:
        takes = [(rates if place % 2 else another).take("a", 6) for place in range(6)]
        left = sorted(await asyncio.gather(*takes))
        assert [round(each) for each in left] == [0, 1, 2, 3, 4, 5]
        assert -1 <= await rates.take("a", 6) < 0
        assert -1 <= await another.take("a", 6) < 0, "a refused request takes nothing"
        assert round(await another.take("b", 6)) == 5

    async def test_a_bucket_refills_evenly(self, rates: RateStore) -> None:
        for _ in range(6000):
            if await rates.take("a", 6000) < 1:
                break
        while await rates.take("a", 6000) >= 0:
            pass
        await asyncio.sleep(0.1)  # ten requests' worth
        assert await rates.take("a", 6000) >= 0


class TestMemoryRates(RatesContract):
    @pytest.fixture
    def rates(self) -> MemoryRates:
        return MemoryRates()

    @pytest.fixture
    def another(self, rates: MemoryRates) -> MemoryRates:
        return rates


@pytest.mark.integration
class TestRedisRates(RatesContract):
    @pytest_asyncio.fixture
    async def rates(self, redis_url: str) -> AsyncIterator[RedisRates]:
        rates = RedisRates(redis_url)
        yield rates
        await rates.close()

    @pytest_asyncio.fixture
    async def another(self, redis_url: str) -> AsyncIterator[RedisRates]:
        rates = RedisRates(redis_url)
        yield rates
        await rates.close()


@pytest.mark.integration
async def test_without_redis_the_shared_buckets_say_nothing() -> None:
    tasks, url = Tasks(), "redis://127.0.0.1:1/0"
    rates, live = RedisRates(url), RedisOutput(url)
    shared = SharedRates(rates, CircuitBreaker("redis", live.answers, tasks))
    assert await shared.take("a", 6) is None
    await tasks.close()
    await rates.close()
    await live.close()
