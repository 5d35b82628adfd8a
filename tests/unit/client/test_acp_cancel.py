"""Cancelling a prompt from an editor: again after it has failed, and no second time after it has not."""

import asyncio
from typing import cast

import pytest

from jelmore_client import Accepted, AsyncJelmore, AsyncSession, ConflictError, ConnectionFailedError
from jelmore_client.bridges.acp import JelmoreAgent, _Prompt
from jelmore_client.errors import Problem, error_of

CONFLICT = error_of(Problem(409, "conflict", "The agent has it", "", "", False, None))


class Talk:
    """A session whose server is away for the first call."""

    def __init__(self, *outcomes: Exception | None, hangs: bool = False) -> None:
        self.hangs = hangs
        self.outcomes = list(outcomes)
        self.calls: list[str] = []

    async def cancel_queued(self, input_id: str) -> None:
        self.calls.append(f"cancel {input_id}")
        if (outcome := self.outcomes.pop(0)) is not None:
            raise outcome

    async def interrupt(self) -> None:
        self.calls.append("interrupt")
        await asyncio.sleep(60 if self.hangs else 0)


def agent_of(talk: Talk) -> JelmoreAgent:
    agent = JelmoreAgent(cast("AsyncJelmore", None))
    accepted = Accepted(input_id="i", seq=1)
    agent._prompts["s"] = _Prompt(session=cast("AsyncSession", talk), accepted=accepted)
    return agent


async def test_a_cancel_that_failed_may_come_again() -> None:
    assert isinstance(CONFLICT, ConflictError)
    talk = Talk(ConnectionFailedError("http://test does not answer"), CONFLICT)
    agent = agent_of(talk)
    with pytest.raises(Exception, match="does not answer"):
        await agent.cancel("s")
    await agent.cancel("s")
    await agent.cancel("s")
    assert talk.calls == ["cancel i", "cancel i", "interrupt"]


async def test_an_interrupt_whose_task_was_cancelled_is_not_sent_again() -> None:
    talk = Talk(CONFLICT, hangs=True)
    agent = agent_of(talk)
    task = asyncio.create_task(agent.cancel("s"), name="cancel")
    while talk.calls[-1:] != ["interrupt"]:
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    await agent.cancel("s")
    assert talk.calls == ["cancel i", "interrupt"]
