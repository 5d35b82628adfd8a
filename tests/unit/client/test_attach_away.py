"""What `jelmore attach` does while the server is away: it says so, and loses nothing that was typed."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from jelmore_client import AsyncSession, ConnectionFailedError, Event, Pending
from jelmore_client.cli import app as cli
from jelmore_client.cli import attach as module
from jelmore_client.cli.printing import Printer
from jelmore_client.errors import Problem, error_of
from jelmore_client.models import SessionInfo

AWAY = ConnectionFailedError("http://test does not answer")


class Talk:
    """A session whose server is away at first, for prompts and for reads of its own."""

    def __init__(self) -> None:
        self.id = "01a21f72-525b-7297-b3f8-db1337d939bd"
        self.info = SessionInfo(id=self.id, status="idle")
        self.sent: list[str] = []
        self.ids: list[str | None] = []
        self.left = 1
        self.looks = 1
        self.ended = asyncio.Event()

    async def send(self, prompt: str, *, input_id: str | None = None) -> None:
        self.sent.append(prompt)
        self.ids.append(input_id)
        if self.left:
            self.left -= 1
            raise AWAY

    async def refresh(self) -> None:
        if self.looks:
            self.looks -= 1
            raise AWAY

    async def events(self, **_: Any) -> AsyncIterator[Event]:
        await self.ended.wait()
        events: list[Event] = []
        for event in events:
            yield event


async def test_a_prompt_that_was_not_sent_is_there_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_SLOW_S", 0.0)
    printed: list[str] = []
    monkeypatch.setattr(Printer, "block", lambda _, block: printed.append(block.text))
    talk = Talk()
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        terminal = module._Terminal(cast("AsyncSession", talk))
        typed.send_text("mend it\n")
        running = asyncio.create_task(terminal.run(0), name="attach")
        async with asyncio.timeout(20):
            while talk.left:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            typed.send_text("\n")
            while len(talk.sent) < 2:
                await asyncio.sleep(0.01)
            typed.send_text("mend it\n")
            while len(talk.sent) < 3:
                await asyncio.sleep(0.01)
            typed.send_text("\x04")
            assert await running == 0
    assert talk.sent == ["mend it"] * 3
    first, again, another = talk.ids
    assert first == again, "the server may have it already: it runs once"
    assert another != first
    assert "not sent: http://test does not answer" in printed


async def test_a_question_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(Printer, "block", lambda _, block: printed.append(block.text))
    parts = [{"question": name, "options": [{"label": "red"}]} for name in ("Which?", "And?")]
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        terminal = module._Terminal(cast("AsyncSession", Talk()))
        request = Pending(request_id="q", waiting_for="question", title="Which?", input={"questions": parts})
        terminal._conversation.wait_for(request)
        terminal._show_question("question")
        assert await terminal._execute("1")
    assert printed == ["1. red  ", "And?", "1. red  "]


async def test_the_line_at_the_bottom_says_that_the_server_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK_S", 0.0)
    talk = Talk()
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        terminal = module._Terminal(cast("AsyncSession", talk))
        terminal.retries(AWAY, 0.3)
        assert "does not answer" not in terminal._conversation.toolbar(talk.id)
        terminal.retries(AWAY, 2.0)
        terminal.retries(AWAY, 4.0)
        assert "the server does not answer, trying again" in terminal._conversation.toolbar(talk.id)
        (looking,) = terminal._calls
        await asyncio.wait_for(looking, 10)
        assert "ready" in terminal._conversation.toolbar(talk.id)


def test_a_stream_that_waits_for_its_server_says_so_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cli._Away, "said_at", float("-inf"))
    for delay_s in (0.3, 2.0, 4.0):
        cli._say_why_it_waits(AWAY, delay_s)
    assert capsys.readouterr().err.splitlines() == ["http://test does not answer Trying again until Ctrl-C …"]


async def test_a_prompt_that_meets_a_request_or_a_refusal_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Printer, "block", lambda *_: None)
    talk = Talk()
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        terminal = module._Terminal(cast("AsyncSession", talk))
        asks = {"request_id": "r", "waiting_for": "permission", "tool": "Bash", "title": "Bash", "input": {}}
        terminal._conversation.wait_for(Pending.model_validate(asks))
        assert not await terminal._execute("mend the parser, too")
        terminal._conversation.pending = []

        async def refuse(*_: Any, **__: Any) -> None:
            raise error_of(Problem(409, "conflict", "Not now", "it ends", "", False, None))

        monkeypatch.setattr(talk, "send", refuse)
        assert not await terminal._execute("mend the parser, too")


def test_what_was_given_stays_when_another_request_is_answered() -> None:
    conversation = module.Conversation()
    for name in ("first", "second"):
        asks: dict[str, Any] = {
            "request_id": name,
            "waiting_for": "question",
            "tool": "AskUserQuestion",
            "title": "",
            "input": {},
        }
        conversation.wait_for(Pending.model_validate(asks))
    conversation.answers = {"Which?": "this"}
    for name, left in (("second", {"Which?": "this"}), ("first", {})):
        data = {"request_id": name, "decision": "deny"}
        event = {"seq": 1, "kind": "permission_resolved", "at": "2026-01-31T12:00:00.000Z", "data": data}
        conversation.take(Event.model_validate(event))
        assert conversation.answers == left
