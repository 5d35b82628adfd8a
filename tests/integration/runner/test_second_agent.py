"""The runner with an agent that is not Claude Code."""

import asyncio
import json
from pathlib import Path

import pytest

from jelmore_protocol import PROTOCOL
from jelmore_protocol.control import AgentOptions, Init, InputRequest, Phase, Stop
from jelmore_runner.runner import Runner
from jelmore_runner.settings import Address, Settings
from jelmore_runner.supervisor import Supervisor
from tests.fakes import echo_agent
from tests.integration.runner.harness import Keys, eventually

pytestmark = pytest.mark.integration


async def test_a_session_of_a_second_agent_runs_from_init_to_its_end(tmp_path: Path) -> None:
    nowhere = Address.parse("unix:/nowhere")
    settings = Settings(nowhere, nowhere, nowhere, tmp_path)
    for folder in (settings.workspace, settings.home, settings.state):
        folder.mkdir()
    supervisor = Supervisor()
    runner = Runner(settings, supervisor, echo_agent.create)
    init = Init(
        protocol=PROTOCOL,
        session_id="0190c0de-0000-7000-8000-000000000001",
        generation=1,
        options=AgentOptions(),
        token_public_key=Keys().public,
        gateway_token="t",
        first_input=InputRequest(id="one", input="hello"),
    )
    try:
        async with asyncio.timeout(20):
            await runner.begin(init)
            session = await runner.opened_conversation()
            await session.accept(InputRequest(id="two", input="again"))
            await runner.live_agent().set_permission_mode("plan")
            await eventually(lambda: session.turn.view.waiting_for, "both prompts have their answers")
            runner.stop(Stop(reason="test over"))
            await runner.finished.wait()
    finally:
        await supervisor.end()
    assert runner.phase is Phase.ENDED
    events = [json.loads(line) for line in (settings.state / "journal.jsonl").read_text().splitlines()]
    ended = [event["data"] for event in events if event["kind"] == "turn_ended"]
    assert [(data["input_id"], data["text"], data["outcome"]) for data in ended] == [
        ("one", "hello", "completed"),
        ("two", "again", "completed"),
    ]
    said = [(event["data"]["text"], event["data"]["input_id"]) for event in events if event["kind"] == "said"]
    assert said == [("hello", "one"), ("again", "two")]
    assert events[-1]["kind"] == "exited"
