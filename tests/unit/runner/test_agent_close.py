"""A cancellation neither cuts the cleanup after Claude Code short nor is swallowed by it."""

import asyncio
from typing import Any, cast

import pytest

from jelmore_runner.agents.claude.agent import Agent


class SlowToEnd(Agent):
    """An agent whose end takes until it is permitted."""

    started: asyncio.Event
    permitted: asyncio.Event
    ended = False

    async def _end(self, client: Any) -> None:
        self.started.set()
        await self.permitted.wait()
        self.ended = True


async def test_a_cancellation_waits_for_the_cleanup_and_is_passed_on() -> None:
    agent = SlowToEnd(*[cast("Any", None)] * 3)
    agent.started, agent.permitted = asyncio.Event(), asyncio.Event()
    helper, reader = (asyncio.create_task(asyncio.Event().wait(), name=name) for name in ("helper", "reader"))
    closing = asyncio.create_task(agent._close(cast("Any", None), [helper], cast("Any", reader)), name="closing")
    await agent.started.wait()
    closing.cancel()
    await asyncio.sleep(0)
    assert not closing.done()
    agent.permitted.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert agent.ended
    assert reader.cancelled()
