"""A manager that stops ends the waits of requests: what they wait for continues without it."""

import asyncio

import pytest

from jelmore.control.watchers import Watchers
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


async def _wait(watchers: Watchers, *, leave: bool) -> None:
    async with watchers.patience(3600):
        if leave:
            watchers.leave()
        await asyncio.Event().wait()
