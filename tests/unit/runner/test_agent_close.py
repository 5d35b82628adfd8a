"""The cleanup after Claude Code: a cancellation does not cut it short, and it kills no snapshot of a turn."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jelmore_runner.agents.claude import agent as agents
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


async def test_the_snapshot_before_a_turn_is_not_killed_with_what_the_tools_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps: list[str] = []

    async def keep() -> None:
        await asyncio.sleep(0.05)
        steps.append("kept")

    async def disconnect(_: object) -> None:
        steps.append("disconnected")

    monkeypatch.setattr(agents, "disconnect", disconnect)
    monkeypatch.setattr(agents, "kill_tree", lambda _: steps.append("killed"))
    connection = SimpleNamespace(process=None, pid=None)
    session = SimpleNamespace(turn=SimpleNamespace(running=None), before_tool=keep)
    await Agent(cast("Any", connection), cast("Any", session), lambda: None)._end(cast("Any", None))
    assert steps == ["disconnected", "kept", "killed"]
