"""`jelmore mcp` and `jelmore acp`, as other programs use them: with the official client of each protocol."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import acp
import pytest
from acp.schema import AllowedOutcome, PermissionOption, RequestPermissionResponse, ToolCallUpdate
from mcp import StdioServerParameters
from mcp.client import Client

from jelmore_client import AsyncJelmore, AsyncSession
from tests.support.stack_client import Api

PATIENCE_S = 60


@pytest.fixture
async def environment(quick_api: Api, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    stack = quick_api.stack
    own = {"JELMORE_URL": stack.url, "JELMORE_API_KEY": stack.api_key, "XDG_CONFIG_HOME": str(tmp_path)}
    async with AsyncJelmore(stack.url, api_key=stack.api_key) as client:
        before = {each.id async for each in client.sessions.list()}
        yield {**os.environ, **own}
        async for each in client.sessions.list():
            if each.id not in before:
                await AsyncSession(client, each).end()


def command(name: str) -> list[str]:
    return [sys.executable, "-m", "jelmore_client.cli", name]


def mcp_client(environment: dict[str, str]) -> Client:
    program, *arguments = command("mcp")
    return Client(StdioServerParameters(command=program, args=arguments, env=environment))


async def use(client: Client, tool: str, **arguments: Any) -> Any:
    """Call a tool; return its structured result."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


async def test_another_agent_starts_answers_and_stops_a_session_over_mcp(environment: dict[str, str]) -> None:
    async with mcp_client(environment) as client:
        tools = {each.name for each in (await client.list_tools()).tools}
        assert tools == {
            "list_sessions", "get_session", "start_session", "send_prompt", "wait_for_turn", "answer_request",
            "stop_session",
        }  # fmt: skip

        turn = await use(
            client, "start_session", prompt="demo> run touch x; echo over-$((40+2))", title="from an agent"
        )
        session_id = turn["session_id"]
        assert turn["state"] == "running"
        turn = await use(client, "wait_for_turn", session_id=session_id, input_id=turn["input_id"], wait_s=PATIENCE_S)
        assert (turn["state"], [each["tool"] for each in turn["asks"]]) == ("waiting", ["Bash"])
        shown = await use(client, "get_session", session_id=session_id)
        assert shown["asks"] == turn["asks"]
        request_id = turn["asks"][0]["request_id"]
        await use(client, "answer_request", session_id=session_id, request_id=request_id, decision="allow")
        turn = await use(client, "wait_for_turn", session_id=session_id, wait_s=PATIENCE_S)  # the newest turn
        assert turn["state"] == "completed"
        assert "over-42" in turn["text"]

        turn = await use(client, "send_prompt", session_id=session_id, prompt="demo> say again", wait_s=PATIENCE_S)
        assert (turn["state"], turn["text"]) == ("completed", "[demo model] again")
        listed = (await use(client, "list_sessions", query="agent"))["result"]
        assert session_id in {each["session_id"] for each in listed}
        ended = await use(client, "stop_session", session_id=session_id, what="session")
        assert ended["status"] == "terminated"


async def test_a_turn_is_stopped_over_mcp(environment: dict[str, str]) -> None:
    async with mcp_client(environment) as client:
        turn = await use(client, "start_session", prompt="demo> sleep 600", wait_s=1)
        assert turn["state"] == "running"
        session_id = turn["session_id"]
        await use(client, "stop_session", session_id=session_id)
        turn = await use(client, "wait_for_turn", session_id=session_id, wait_s=PATIENCE_S)
        assert turn["state"] in {"completed", "failed"}
        await use(client, "stop_session", session_id=session_id, what="session")


async def test_mcp_tools_say_what_is_wrong(environment: dict[str, str]) -> None:
    async with mcp_client(environment) as client:
        unknown = await client.call_tool("get_session", {"session_id": "00000000-0000-4000-8000-000000000000"})
        assert unknown.is_error
        assert "404" in str(unknown.content)
        wrong = await client.call_tool("wait_for_turn", {"session_id": "x", "wait_s": 100_000})
        assert wrong.is_error
        assert "wait_s" in str(wrong.content)


class Editor:
    """An editor: keeps the updates, and answers permissions with the option that `choose` names."""

    def __init__(self, choose: Callable[[ToolCallUpdate, list[PermissionOption]], str]) -> None:
        self.updates: list[Any] = []
        self.asked: list[ToolCallUpdate] = []
        self.arrived = asyncio.Event()
        self._choose = choose

    async def session_update(self, session_id: str, update: Any, **_: Any) -> None:
        self.updates.append(update)
        self.arrived.set()

    async def request_permission(
        self, session_id: str, tool_call: ToolCallUpdate, options: list[PermissionOption], **_: Any
    ) -> RequestPermissionResponse:
        self.asked.append(tool_call)
        chosen = next(each for each in options if each.name.startswith(self._choose(tool_call, options)))
        return RequestPermissionResponse(outcome=AllowedOutcome(outcome="selected", option_id=chosen.option_id))

    def on_connect(self, conn: Any) -> None: ...

    def said(self) -> str:
        return "\n".join(each.content.text for each in self.updates if each.session_update == "agent_message_chunk")

    def kinds(self) -> list[str]:
        return [each.session_update for each in self.updates]


async def test_an_editor_works_with_a_session_over_acp(environment: dict[str, str], tmp_path: Path) -> None:
    editor = Editor(lambda call, _: "red" if call.title and "colour" in call.title else "Allow")
    program, *arguments = command("acp")
    async with (
        asyncio.timeout(4 * PATIENCE_S),
        acp.spawn_agent_process(editor, program, *arguments, env=environment) as (agent, _),  # type: ignore[arg-type]
    ):
        made = await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        assert made.protocol_version == acp.PROTOCOL_VERSION
        assert made.agent_capabilities is not None
        assert made.agent_capabilities.load_session
        session = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])

        ended = await agent.prompt(
            session_id=session.session_id,
            prompt=[acp.text_block("demo> run touch x; echo over-$((40+2))\ndemo> write a.txt one")],
        )
        assert ended.stop_reason == "end_turn"
        outputs = [str(each.content) for each in editor.updates if each.session_update == "tool_call_update"]
        assert "over-42" in outputs[0]
        assert "touch x; echo over" in str(editor.asked[0].raw_input)
        started = [each for each in editor.updates if each.session_update == "tool_call"]
        assert [each.kind for each in started] == ["execute", "edit"]
        assert started[1].content[0].new_text == "one"
        ends = [each.status for each in editor.updates if each.session_update == "tool_call_update"]
        assert ends == ["completed", "completed"]

        ended = await agent.prompt(
            session_id=session.session_id, prompt=[acp.text_block("demo> ask Which colour? | red | blue")]
        )
        assert ended.stop_reason == "end_turn"
        assert "red" in editor.said()

        modes = await agent.load_session(cwd=str(tmp_path), session_id=session.session_id, mcp_servers=[])
        assert modes is not None
        assert "user_message_chunk" in editor.kinds()
        assert session.session_id in {
            each.session_id for each in (await agent.list_sessions(cwd=str(tmp_path))).sessions
        }


async def test_an_editor_cancels_a_turn_over_acp(environment: dict[str, str], tmp_path: Path) -> None:
    editor = Editor(lambda *_: "Allow")
    program, *arguments = command("acp")
    async with (
        asyncio.timeout(3 * PATIENCE_S),
        acp.spawn_agent_process(editor, program, *arguments, env=environment) as (agent, _),  # type: ignore[arg-type]
    ):
        await agent.initialize(protocol_version=acp.PROTOCOL_VERSION)
        session = await agent.new_session(cwd=str(tmp_path), mcp_servers=[])
        await agent.set_session_mode(session_id=session.session_id, mode_id="acceptEdits")
        prompt: list[Any] = [acp.text_block("demo> write begun.txt one\ndemo> sleep 600")]
        turn = asyncio.create_task(agent.prompt(session_id=session.session_id, prompt=prompt), name="turn")
        await editor.arrived.wait()
        await agent.cancel(session_id=session.session_id)
        assert (await turn).stop_reason == "cancelled"
        assert editor.asked == []
        with pytest.raises(acp.RequestError) as refused:
            await agent.prompt(session_id="00000000-0000-4000-8000-000000000000", prompt=prompt)
        assert "404" in str(refused.value)
