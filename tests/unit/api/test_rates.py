"""The limit on requests per key, in virtual time."""

import pytest

from jelmore.api.rates import RateLimit, RateLimitedError


class Time:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_minute_s_worth_may_come_at_once_and_then_it_refills_evenly() -> None:
    time = Time()
    limit = RateLimit(60, time)
    left = [int(limit.take("a")["RateLimit-Remaining"]) for _ in range(60)]
    assert left == list(range(59, -1, -1))
    with pytest.raises(RateLimitedError) as refused:
        limit.take("a")
    assert 1 <= refused.value.retry_after_s <= 2
    time.now_s += refused.value.retry_after_s
    limit.take("a")


def test_keys_do_not_share() -> None:
    limit = RateLimit(1, Time())
    limit.take("a")
    limit.take("b")
    with pytest.raises(RateLimitedError):
        limit.take("a")


def test_waiting_as_told_is_enough_whatever_the_rate() -> None:
    for per_minute in (1, 7, 59, 61, 1000):
        time = Time()
        limit = RateLimit(per_minute, time)
        for _ in range(per_minute):
            limit.take("a")
        with pytest.raises(RateLimitedError) as refused:
            limit.take("a")
        time.now_s += refused.value.retry_after_s
        limit.take("a")


def test_zero_does_not_limit_and_says_nothing() -> None:
    limit = RateLimit(0, Time())
    assert all(limit.take("a") == {} for _ in range(1000))
    assert limit.limit_headers() == {}


def test_strangers_cannot_fill_the_memory() -> None:
    limit = RateLimit(1, Time())
    for number in range(10_050):
        limit.take(str(number))
    assert len(limit._buckets) <= 10_000
