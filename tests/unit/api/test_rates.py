"""The limit on requests per key, in virtual time."""

import pytest

from jelmore.api.rates import RateLimit, RateLimitedError


class Time:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


async def test_a_minute_s_worth_may_come_at_once_and_then_it_refills_evenly() -> None:
    time = Time()
    limit = RateLimit(60, now=time)
    left = [int((await limit.take("a"))["RateLimit-Remaining"]) for _ in range(60)]
    assert left == list(range(59, -1, -1))
    with pytest.raises(RateLimitedError) as refused:
        await limit.take("a")
    assert 1 <= refused.value.retry_after_s <= 2
    time.now_s += refused.value.retry_after_s
    await limit.take("a")


async def test_keys_do_not_share() -> None:
    limit = RateLimit(1, now=Time())
    await limit.take("a")
    await limit.take("b")
    with pytest.raises(RateLimitedError):
        await limit.take("a")


async def test_waiting_for_the_given_time_is_enough_whatever_the_rate() -> None:
    for per_minute in (1, 7, 59, 61, 1000):
        time = Time()
        limit = RateLimit(per_minute, now=time)
        for _ in range(per_minute):
            await limit.take("a")
        with pytest.raises(RateLimitedError) as refused:
            await limit.take("a")
        time.now_s += refused.value.retry_after_s
        await limit.take("a")


async def test_zero_does_not_limit_and_says_nothing() -> None:
    limit = RateLimit(0, now=Time())
    for _ in range(1000):
        assert await limit.take("a") == {}
    assert limit.limit_headers() == {}


async def test_strangers_cannot_fill_the_memory() -> None:
    limit = RateLimit(1, now=Time())
    for number in range(10_050):
        await limit.take(str(number))
    assert len(limit._buckets) <= 10_000


class Buckets:
    """The shared buckets, as far as one key needs them. None: they cannot be reached."""

    def __init__(self, left: float | None) -> None:
        self.left = left

    async def take(self, key: str, per_minute: int) -> float | None:
        return self.left


async def test_the_shared_buckets_decide_while_they_can_be_reached() -> None:
    buckets = Buckets(7.5)
    limit = RateLimit(60, buckets, Time())
    assert (await limit.take("a"))["RateLimit-Remaining"] == "7"
    buckets.left = -0.25
    with pytest.raises(RateLimitedError) as refused:
        await limit.take("a")
    assert refused.value.retry_after_s == 1
    buckets.left = None
    assert (await limit.take("a"))["RateLimit-Remaining"] == "59", "then each manager counts by itself"
