"""A caller that waits for a turn gets an answer at once when a budget holds its input back."""

import asyncio

import pytest

from jelmore_protocol.events import AgentState, WaitingFor
from tests.integration.api.world import World
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("when", ["before", "meanwhile"])
async def test_a_waiting_input_returns_when_a_budget_is_used_up(api: World, when: str) -> None:
    async with api.client() as http:
        session_id = (await http.post("/api/v1/sessions", json={})).json()["id"]
        url = f"/api/v1/sessions/{session_id}/input?wait=60"
        runner = await api.runner(session_id)
        runner.holds = True
        if when == "before":
            await api.stored(session_id, await runner.become(AgentState.WAITING_INPUT, WaitingFor.BUDGET))
        posting = asyncio.create_task(http.post(url, json={"input": "hello", "id": "i1"}), name="posting")
        await until(lambda: "i1" in runner.inputs)
        if when == "meanwhile":
            await runner.become(AgentState.WAITING_INPUT, WaitingFor.BUDGET)
        async with asyncio.timeout(10):
            answer = await posting
        assert answer.status_code == 202, answer.text
        shown = answer.json()
        assert (shown["waiting_for"], shown["pending"], shown["result"]) == ("budget", None, None)
