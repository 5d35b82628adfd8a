"""A manager that stops ends the waits of requests: what they wait for continues without it."""

import asyncio
from uuid import UUID

import pytest

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.outcomes import Outcomes
from jelmore.control.streams import Streams
from jelmore.control.watchers import Watchers
from jelmore.session.record import Session
from tests.unit.control.static_harness import StaticHarness


async def test_a_wait_for_a_session_ends_with_what_is_so_now() -> None:
    harness = StaticHarness()
    session, _ = await harness.session()
    waiting = asyncio.create_task(harness.watchers.until(session.id, lambda s: s.ended, 3600), name="a request")
    await asyncio.sleep(0)
    harness.watchers.leave()
    assert (await waiting).id == session.id
    assert not (await harness.watchers.until(session.id, lambda s: s.ended, 3600)).ended, "also one that begins later"


async def test_patience_ends_and_only_then() -> None:
    harness = StaticHarness()
    async with harness.watchers.patience(3600):
        await asyncio.sleep(0)
    with pytest.raises(TimeoutError):
        await _wait(harness.watchers, leave=True)


async def test_a_request_whose_input_is_not_stored_yet_asks_the_database_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    harness = StaticHarness()
    session, _ = await harness.session()
    loads = 0
    load = harness.store.load

    async def counted(session_id: UUID) -> Session:
        nonlocal loads
        loads += 1
        assert loads < 10, "it asks again and again"
        await asyncio.sleep(0)
        return await load(session_id)

    monkeypatch.setattr(harness.store, "load", counted)
    redis = CircuitBreaker("redis", harness.live.answers, harness.tasks)
    streams = Streams(harness.store, harness.live, redis)
    outcomes = Outcomes(harness.store, streams, harness.watchers, harness.cache)
    harness.watchers.leave()
    assert await outcomes.outcome(session, "one", session.output_seq + 1, 3600) is None


async def _wait(watchers: Watchers, *, leave: bool) -> None:
    async with watchers.patience(3600):
        if leave:
            watchers.leave()
        await asyncio.Event().wait()
