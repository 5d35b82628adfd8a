"""Steps of a conversation over HTTP that several tests take, and what they ask for."""

import httpx

from jelmore_protocol.events import AgentState, EventKind, Pending, WaitingFor
from tests.integration.api.world import World
from tests.support.waiting import until

UNKNOWN = "0198c0de-0000-7000-8000-000000000001"
"""The id of no session."""

PERMISSION = Pending(
    request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="run ls", input={"command": "ls"}
)


async def new_session(http: httpx.AsyncClient) -> str:
    made = await http.post("/api/v1/sessions")
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def finish_turn(api: World, session_id: str, input_id: str) -> None:
    """Let the agent answer an input."""
    runner = await api.runner(session_id)
    await until(lambda: input_id in runner.inputs)
    result = {
        "type": "result",
        "subtype": "success",
        "result": "done",
        "usage": {"input_tokens": 2, "output_tokens": 3},
    }
    await runner.say(EventKind.MESSAGE, {"message": result, "input_id": input_id})
    await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)
