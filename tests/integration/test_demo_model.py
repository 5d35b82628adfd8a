"""The demo model under the real Claude Code: each directive, and what breaks a turn off.

What Claude Code puts around a prompt changes with its version. These turns fail when the demo model takes any of it
for a directive, runs one twice, or loses one.
"""

import asyncio
import os
import signal
import socket
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from claude_agent_sdk import (
    AssistantMessage,
    ClaudeAgentOptions,
    ClaudeSDKClient,
    PermissionResultAllow,
    PermissionResultDeny,
    ResultMessage,
    StreamEvent,
    TextBlock,
    ToolPermissionContext,
    ToolResultBlock,
    ToolUseBlock,
    UserMessage,
)

import jelmore_demo
from jelmore_demo.app import create_app

pytestmark = pytest.mark.integration
DEADLINE_S = 60.0


@pytest.fixture
async def model_url() -> AsyncIterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(create_app(), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(server.serve(sockets=[listener]), name="demo model")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
    listener.close()


@dataclass
class RecordFact:
    """What one turn showed."""

    texts: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    deltas: int = 0
    results: list[ResultMessage] = field(default_factory=list)

    def add(self, message: object) -> None:
        if isinstance(message, StreamEvent):
            self.deltas += message.event["type"] == "content_block_delta"
        elif isinstance(message, ResultMessage):
            self.results.append(message)
        elif isinstance(message, AssistantMessage | UserMessage) and isinstance(message.content, list):
            for block in message.content:
                if isinstance(block, TextBlock) and isinstance(message, AssistantMessage):
                    self.texts.append(block.text.removeprefix("[demo model] "))
                elif isinstance(block, ToolUseBlock):
                    self.calls.append(block.name)
                elif isinstance(block, ToolResultBlock):
                    self.answers.append(str(block.content))


class Talk:
    """A conversation: prompts go in, whole turns come out."""

    def __init__(self, client: ClaudeSDKClient) -> None:
        self.client = client
        self.messages = client.receive_messages()

    async def send(self, prompt: str) -> None:
        await self.client.query(prompt)

    async def until(self, enough: Callable[[RecordFact], bool], seen: RecordFact | None = None) -> RecordFact:
        seen = seen or RecordFact()
        async with asyncio.timeout(DEADLINE_S):
            async for message in self.messages:
                seen.add(message)
                if enough(seen):
                    return seen
        pytest.fail(f"the conversation ended early: {seen}")

    async def turn(self, prompt: str) -> RecordFact:
        await self.send(prompt)
        return await self.until(lambda seen: bool(seen.results))

    def kill(self) -> None:
        os.kill(cast("Any", self.client)._transport._process.pid, signal.SIGKILL)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    for name in ("home", "config", "work"):
        (tmp_path / name).mkdir()
    return tmp_path


async def decide(tool: str, arguments: dict[str, Any], _: ToolPermissionContext) -> Any:
    """Answer questions with the second option, refuse what names `forbidden`, wait for ever over `Stuck?`."""
    if tool == "AskUserQuestion":
        asked = arguments["questions"][0]
        if asked["question"] == "Stuck?":
            await asyncio.Event().wait()
        answers = {asked["question"]: asked["options"][1]["label"]}
        return PermissionResultAllow(updated_input={**arguments, "answers": answers})
    if "forbidden" in str(arguments):
        return PermissionResultDeny(message="not allowed here")
    return PermissionResultAllow()


@asynccontextmanager
async def talk(model_url: str, home: Path, **options: Any) -> AsyncIterator[Talk]:
    environment = {
        "ANTHROPIC_BASE_URL": model_url,
        "ANTHROPIC_API_KEY": "dummy",
        "CLAUDE_CONFIG_DIR": str(home / "config"),
        "HOME": str(home / "home"),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "IS_SANDBOX": "1",
    }
    client = ClaudeSDKClient(
        ClaudeAgentOptions(
            env=environment,
            cwd=home / "work",
            system_prompt={"type": "preset", "preset": "claude_code"},
            verbatim_prompts=True,
            setting_sources=[],
            include_partial_messages=True,
            can_use_tool=decide,
            **options,
        )
    )
    async with asyncio.timeout(DEADLINE_S):
        await client.connect()
    try:
        yield Talk(client)
    finally:
        async with asyncio.timeout(DEADLINE_S):
            await client.disconnect()


async def test_each_directive_in_one_turn_and_then_an_echo(model_url: str, home: Path) -> None:
    prompt = """Please do these:
demo> say first words
demo> write notes.txt kept text
demo> read notes.txt
demo> run echo hello from $((40 + 2))
demo> run touch forbidden
demo> ask Which one? | A | B
demo> sleep 0.1
demo> say last words
"""
    async with talk(model_url, home) as conversation:
        seen = await conversation.turn(prompt)
        assert seen.calls == ["Write", "Read", "Bash", "Bash", "AskUserQuestion"]
        assert seen.texts == ["first words", "Bash failed: not allowed here", "last words"]
        assert "kept text" in seen.answers[1]
        assert seen.answers[2] == "hello from 42"
        assert '"Which one?"="B"' in seen.answers[4]
        assert not seen.results[0].is_error
        assert (home / "work" / "notes.txt").read_text() == "kept text"
        assert not (home / "work" / "forbidden").exists()
        assert (await conversation.turn("plain words")).texts == ["plain words"]


async def test_words_stream_one_delta_each(model_url: str, home: Path) -> None:
    async with talk(model_url, home) as conversation:
        seen = await conversation.turn("demo> words 2000")
    assert seen.deltas == 2000
    assert seen.texts == [" ".join(f"word{number}" for number in range(1, 2001))]


async def test_a_failure_ends_its_turn_at_once_and_only_its_turn(model_url: str, home: Path) -> None:
    async with talk(model_url, home) as conversation:
        for status in (400, 401, 429, 500, 529):
            async with asyncio.timeout(10):
                (result,) = (await conversation.turn(f"demo> fail {status}")).results
            assert (result.is_error, result.api_error_status) == (True, status)
        assert (await conversation.turn("demo> say after them")).texts == ["after them"]


async def test_an_interrupted_turn_is_not_taken_up_again(model_url: str, home: Path) -> None:
    async with talk(model_url, home) as conversation:
        for prompt, started in (
            ("demo> words 10000 50\ndemo> run echo never", lambda seen: seen.deltas > 3),
            ("demo> run echo once\ndemo> ask Stuck? | a | b\ndemo> run echo never", lambda seen: len(seen.calls) == 2),
            ("demo> run echo 1\ndemo> run tail -f /dev/null\ndemo> run echo never", lambda seen: len(seen.calls) == 2),
        ):
            await conversation.send(prompt)
            seen = await conversation.until(started)
            await conversation.client.interrupt()
            seen = await conversation.until(lambda seen: bool(seen.results), seen)
            assert "never" not in seen.answers
            after = await conversation.turn("demo> run echo one\ndemo> run echo two\ndemo> say three")
            assert (after.answers, after.texts) == (["one", "two"], ["three"])


async def test_a_prompt_sent_while_a_tool_runs_is_obeyed_once(model_url: str, home: Path) -> None:
    waiting = "until [ -e go ]; do sleep 0.05; done; echo went"
    async with talk(model_url, home) as conversation:
        await conversation.send(f"demo> run {waiting}\ndemo> run echo two\ndemo> say end of the first")
        seen = await conversation.until(lambda seen: len(seen.calls) == 1)
        await conversation.send("demo> run echo injected\ndemo> say end of the second")
        (home / "work" / "go").touch()
        seen = await conversation.until(lambda seen: "second" in str([result.result for result in seen.results]), seen)
        assert seen.answers == ["went", "two", "injected"]
        assert (await conversation.turn("demo> say next")).texts == ["next"]


async def test_a_killed_agent_resumes_with_the_next_prompt(model_url: str, home: Path) -> None:
    session_id = str(uuid.uuid4())
    async with talk(model_url, home, session_id=session_id) as conversation:
        await conversation.turn("demo> say remembered")
        await conversation.send("demo> run echo once\ndemo> words 10000 50")
        await conversation.until(lambda seen: seen.deltas > 4)
        conversation.kill()
    async with talk(model_url, home, resume=session_id) as conversation:
        seen = await conversation.turn("demo> run echo again\ndemo> say resumed")
    assert (seen.answers, seen.texts) == (["again"], ["resumed"])


async def test_the_command_serves_on_a_socket_and_removes_it(tmp_path: Path) -> None:
    path = tmp_path / "model.sock"
    process = await command("--listen", f"unix:{path}")
    try:
        async with asyncio.timeout(DEADLINE_S):
            assert (await first_answer(path)).json()["status"] == "ok"
            process.terminate()
            _, complaint = await process.communicate()
            assert (process.returncode, complaint) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not path.exists()


@pytest.mark.parametrize("name", ["file", "missing/socket"])
async def test_a_path_it_cannot_listen_on_is_one_line_and_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    process = await command("--listen", f"unix:{tmp_path / name}")
    async with asyncio.timeout(DEADLINE_S):
        _, complaint = await process.communicate()
    assert process.returncode == 3
    assert complaint.count(b"\n") == 1
    assert (tmp_path / "file").read_text() == "kept"


async def command(*arguments: str) -> asyncio.subprocess.Process:
    environment = os.environ | {"PYTHONPATH": str(Path(jelmore_demo.__file__).parent.parent)}
    program = (sys.executable, "-m", "jelmore_demo", *arguments)
    return await asyncio.create_subprocess_exec(*program, env=environment, stderr=asyncio.subprocess.PIPE)


async def first_answer(path: Path) -> httpx.Response:
    """Ask `/health` until somebody listens; the caller's deadline bounds it."""
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
        while True:
            try:
                return await client.get("http://demo/health")
            except httpx.ConnectError:
                await asyncio.sleep(0.02)
