"""`jelmore acp` and `jelmore mcp` against the API: what waited meanwhile, sessions that end, bad input."""

# ruff: noqa: F811 - the fixture of another file is a parameter here

import asyncio
from typing import Any, Final

import acp
import pytest
from acp.schema import AllowedOutcome, DeniedOutcome, PermissionOption, RequestPermissionResponse, ToolCallUpdate
from mcp.server.mcpserver.exceptions import ToolError

from jelmore_client.bridges.acp import JelmoreAgent
from jelmore_client.bridges.mcp import Tools, make_server
from jelmore_protocol.events import AgentState, EventKind, WaitingFor
from jelmore_protocol.events import Pending as ProtocolPending
from tests.integration.api.world import World
from tests.integration.client.test_client import PERMISSION, api, connect, end_turn, next_input  # noqa: F401 - a fixture
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NOT_FOUND: Final = -32002
INVALID: Final = -32602
QUESTION: Final = ProtocolPending(
    request_id="q1",
    waiting_for=WaitingFor.QUESTION,
    tool="AskUserQuestion",
    title="Colour?",
    input={"questions": [{"question": "Colour?", "options": [{"label": "red"}, {"label": "blue"}]}]},
)


class Editor:
    """Allows what is asked, and keeps it."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None: ...

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        self.asked.append(tool_call.tool_call_id)
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=options[0].option_id))


async def test_an_editor_that_comes_back_is_asked_what_waited_meanwhile(api: World) -> None:
    async with connect(api) as client, asyncio.timeout(30):
        editor, agent = Editor(), JelmoreAgent(client)
        agent.on_connect(editor)  # type: ignore[arg-type]
        session_id = (await agent.new_session(cwd="/project")).session_id
        runner = await api.runner(session_id)
        await runner.say(EventKind.INPUT, {"id": "earlier", "input": "make x", "by": "key"})
        await runner.ask(PERMISSION)
        prompted = asyncio.create_task(
            agent.prompt(session_id=session_id, prompt=[acp.text_block("then y")]), name="prompt"
        )
        await until(lambda: editor.asked == ["r1"])
        await until(lambda: runner.answered == {"r1"})
        await end_turn(api, session_id, await next_input(api, session_id), "done")
        assert (await prompted).stop_reason == "end_turn"
        assert (await client.sessions.get(session_id)).info.title == "then y"


class CancellingEditor(Editor):
    """Cancels what is asked, as an editor does whose user has cancelled the prompt; or chooses an option of its own."""

    option: str | None = None

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        self.asked.append(tool_call.tool_call_id)
        if self.option is not None:
            return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=self.option))
        return RequestPermissionResponse(outcome=DeniedOutcome(outcome="cancelled"))


async def test_a_cancelled_prompt_in_the_queue_leaves_the_turn_before_it(api: World) -> None:
    async with connect(api) as client, asyncio.timeout(30):
        editor, agent = CancellingEditor(), JelmoreAgent(client)
        agent.on_connect(editor)  # type: ignore[arg-type]
        session_id = (await agent.new_session(cwd="/project")).session_id
        runner = await api.runner(session_id)
        await runner.say(EventKind.INPUT, {"id": "of-another", "input": "make x", "by": "key"})
        await runner.ask(PERMISSION)
        runner.holds = True
        prompted = asyncio.create_task(agent.prompt(session_id=session_id, prompt=[acp.text_block("mine")]), name="x")
        await until(lambda: editor.asked == ["r1"] and bool(runner.waiting))
        await agent.cancel(session_id)
        assert (await prompted).stop_reason == "cancelled"
        assert (runner.interrupts, runner.waiting, runner.answered) == (0, {}, set())
        await agent.cancel(session_id)  # no prompt of this editor: what others run continues
        assert runner.interrupts == 0


async def test_a_cancelled_prompt_of_the_running_turn_interrupts_it_once(api: World) -> None:
    async with connect(api) as client, asyncio.timeout(30):
        editor, agent = CancellingEditor(), JelmoreAgent(client)
        agent.on_connect(editor)  # type: ignore[arg-type]
        session_id = (await agent.new_session(cwd="/project")).session_id
        runner = await api.runner(session_id)
        prompted = asyncio.create_task(agent.prompt(session_id=session_id, prompt=[acp.text_block("mine")]), name="x")
        input_id = await next_input(api, session_id)
        await runner.say(EventKind.STATE, {"state": "active", "waiting_for": None, "input_id": input_id})
        await runner.ask(PERMISSION)
        await until(lambda: editor.asked == ["r1"])
        await agent.cancel(session_id)
        await agent.cancel(session_id)
        await runner.say(EventKind.INTERRUPTED, {"input_id": input_id, "cause": "stopped"})
        assert (await prompted).stop_reason == "cancelled"
        assert (runner.interrupts, runner.answered) == (1, set())


async def test_an_option_that_was_not_offered_allows_nothing(api: World) -> None:
    async with connect(api) as client, asyncio.timeout(30):
        editor, agent = CancellingEditor(), JelmoreAgent(client)
        editor.option = "allow-everything"
        agent.on_connect(editor)  # type: ignore[arg-type]
        session_id = (await agent.new_session(cwd="/project")).session_id
        runner = await api.runner(session_id)
        prompted = asyncio.create_task(agent.prompt(session_id=session_id, prompt=[acp.text_block("mine")]), name="x")
        input_id = await next_input(api, session_id)
        await runner.ask(PERMISSION)
        await until(lambda: "r1" in runner.answered)
        await end_turn(api, session_id, input_id, "done")
        assert (await prompted).stop_reason == "end_turn"
        assert [each.data["decision"] for each in runner.journal if each.kind == "permission_resolved"] == ["deny"]


async def test_a_prompt_in_an_editor_starts_an_ended_session_again(api: World) -> None:
    async with connect(api) as client, asyncio.timeout(30):
        agent = JelmoreAgent(client)
        agent.on_connect(Editor())  # type: ignore[arg-type]
        session_id = (await agent.new_session(cwd="/project")).session_id
        await api.runner(session_id)
        session = await client.sessions.get(session_id)
        await session.end()
        prompted = asyncio.create_task(agent.prompt(session_id=session_id, prompt=[acp.text_block("go on")]), name="x")
        await end_turn(api, session_id, await next_input(api, session_id), "done")
        assert (await prompted).stop_reason == "end_turn"


async def test_an_editor_reads_what_is_wrong(api: World) -> None:
    async with connect(api) as client:
        agent = JelmoreAgent(client)
        with pytest.raises(acp.RequestError, match="no session") as unknown:
            await agent.load_session("00000000-0000-4000-8000-000000000000")
        assert unknown.value.code == NOT_FOUND
        session_id = (await agent.new_session(cwd="/project")).session_id
        with pytest.raises(acp.RequestError) as empty:
            await agent.prompt(session_id=session_id, prompt=[])
        assert empty.value.code == INVALID
        assert str(empty.value.data).startswith("{'details': 'Invalid request: input: List should have at least 1 item")
        with pytest.raises(acp.RequestError) as mode:
            await agent.set_session_mode(session_id, "yolo")
        assert mode.value.code == INVALID


async def test_another_agent_answers_a_question_with_choices_or_not_at_all(api: World) -> None:
    async with connect(api) as client:
        tools = Tools(client)
        session = await client.sessions.create()
        runner = await api.runner(session.id)
        await runner.ask(QUESTION)
        await runner.become(AgentState.WAITING_INPUT, WaitingFor.QUESTION)
        wrong: list[dict[str, str | list[str]] | None] = [None, {"Size?": "red"}]
        for answers in wrong:
            with pytest.raises(ToolError, match=r"Colour\?"):
                await tools.answer_request(session.id, "q1", "allow", answers=answers)
        assert runner.answered == set()
        await tools.answer_request(session.id, "q1", "allow", answers={"Colour?": "red"})
        assert runner.answered == {"q1"}


async def test_an_input_that_was_sent_before_the_note_of_an_interrupt_is_the_newest_turn(api: World) -> None:
    async with connect(api) as client:
        session = await client.sessions.create()
        runner = await api.runner(session.id)
        for input_id in ("first", "second"):
            await runner.say(EventKind.INPUT, {"id": input_id, "input": input_id, "by": "key"})
        note = {"role": "user", "text": "[Request interrupted by user]", "input_id": "first"}
        await runner.say(EventKind.SAID, note)

        async def recorded() -> bool:
            return len([each async for each in session.messages()]) >= 3

        async with asyncio.timeout(10):
            while not await recorded():
                await asyncio.sleep(0.05)
        assert (await Tools(client).wait_for_turn(session.id, wait_s=0)).input_id == "second"


async def test_another_agent_is_not_sent_to_calls_that_it_does_not_have(api: World) -> None:
    async with connect(api) as client:
        session = await client.sessions.create()
        await session.end()
        with pytest.raises(ToolError, match="start_session starts a new one"):
            await make_server(client).call_tool("send_prompt", {"session_id": session.id, "prompt": "go on"})
