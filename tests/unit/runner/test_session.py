"""The session's decisions, with a real journal and a prompter that only listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import pytest
from claude_agent_sdk import ResultMessage, SystemMessage

from jelmore_protocol.control import CancelInput, ChangeInput, InputRequest, OutputLimits, PermissionAnswer
from jelmore_protocol.events import EventKind
from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.tracing import turn_context
from jelmore_protocol.transcripts import prompt_uuid
from jelmore_runner.agents.claude.messages import Translator
from jelmore_runner.attachments import Attachments
from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError
from jelmore_runner.hub import Hub
from jelmore_runner.journal import Journal, Line
from jelmore_runner.journal_file import open_journal_file
from jelmore_runner.pending_requests import Question
from jelmore_runner.projection import Projection


class Listener:
    """Takes prompts and keeps them."""

    def __init__(self) -> None:
        self.given: list[str] = []

    def prompt(self, request: InputRequest, mark: int) -> None:
        self.given.append(request.id)


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Conversation]:
    projection = Projection()
    file = open_journal_file(folder / "j", lambda event: projection.apply(event["kind"], event["seq"], event["data"]))

    def committed(lines: list[Line]) -> None:
        for line in lines:
            projection.apply(line.kind, line.seq, line.data)

    journal = Journal(file, file.seqs[-1] if len(file.seqs) else 0, committed)
    writer = asyncio.create_task(journal.run(), name="writer")
    session = Conversation(journal, projection, Hub(), Attachments(folder / "a", lambda path: (folder, PurePath(path))))
    session.recover(file.dropped_bytes)
    try:
        async with asyncio.timeout(10):
            yield session
            await journal.durable(journal.last)
    finally:
        writer.cancel()
        await asyncio.wait({writer})
        file.close()


async def events(session: Conversation) -> list[tuple[str, Any]]:
    import json

    await session.journal.durable(session.journal.last)
    parsed = [json.loads(text) for _, text in await session.journal.read(0)]
    return [(event["kind"], event["data"]) for event in parsed]


def ask(name: str) -> InputRequest:
    return InputRequest(id=name, input=f"do {name}", by="me")


def result(*names: str) -> ResultMessage:
    return ResultMessage(
        subtype="success",
        duration_ms=1,
        duration_api_ms=1,
        is_error=False,
        num_turns=1,
        session_id="s",
        user_message_uuids=[prompt_uuid(name) for name in names] or None,
    )


def reported(state: str) -> SystemMessage:
    data = {"type": "system", "subtype": "session_state_changed", "state": state}
    return SystemMessage(subtype="session_state_changed", data=data)


def init(*names: str) -> SystemMessage:
    data: dict[str, Any] = {"type": "system", "subtype": "init"}
    if names:
        data["user_message_uuids"] = [prompt_uuid(name) for name in names]
    return SystemMessage(subtype="init", data=data)


async def test_one_prompt_at_a_time_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        listener = Listener()
        await session.accept(ask("one"))
        session.agent_started(listener)
        await session.accept(ask("two"))
        await session.accept(ask("three"))
        assert listener.given == ["one"]
        Translator(session).take(result("one"))
        assert listener.given == ["one", "two"]
        Translator(session).take(result("somebody else"))
        assert listener.given == ["one", "two"]
        Translator(session).take(init("two"))
        Translator(session).take(result())
        assert listener.given == ["one", "two", "three"]


async def test_a_turn_belongs_to_the_trace_of_its_input_also_after_a_restart(tmp_path: Path) -> None:
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    async with opened(tmp_path) as session:
        await session.accept(ask("one").model_copy(update={"trace": parent}))
        assert session.trace == ""
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        assert session.trace == turn_context(parent, "one")
        await session.accept(ask("two"))
        Translator(session).take(result("one"))
        assert session.trace == "", "the next input belongs to no trace"
        Translator(session).take(result("two"))
        ended = [data for kind, data in await events(session) if kind == "turn_ended"]
        assert [data.get("trace", {}).get("parent") for data in ended] == [parent, None]


async def test_a_result_without_a_name_ends_only_an_input_whose_turn_has_started(tmp_path: Path) -> None:
    """A background task that ends wakes the agent; that turn may come between writing a prompt and its own turn."""
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.accept(ask("one"))
        for message in (init(), result(), init("one"), result()):
            Translator(session).take(message)
        messages = [data for kind, data in await events(session) if kind == EventKind.MESSAGE]
        assert [data["input_id"] for data in messages] == [None, None, "one", "one"]


async def test_a_crash_in_a_turn_that_nobody_typed_reports_the_waiting_prompt_as_interrupted(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.accept(ask("one"))
        Translator(session).take(init())
        Translator(session).take(result())
        await session.journal.durable(session.journal.last)
    async with opened(tmp_path) as session:
        interrupted = [data["input_id"] for kind, data in await events(session) if kind == EventKind.INTERRUPTED]
        assert interrupted == ["one"]


async def test_a_background_result_belongs_to_no_input(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.accept(ask("one"))
        Translator(session).take(result("somebody else"))
        Translator(session).take(init("one"))
        Translator(session).take(result("one"))
        ends = [data["input_id"] for kind, data in await events(session) if kind == EventKind.MESSAGE]
        assert ends == [None, "one", "one"]


async def test_state_is_journaled_only_when_it_changes(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.accept(ask("one"))
        for message in (reported("running"), reported("running"), result("one"), reported("idle"), reported("idle")):
            Translator(session).take(message)
        states = [(data["state"], data["input_id"]) for kind, data in await events(session) if kind == EventKind.STATE]
        assert states == [("active", "one"), ("waiting_input", None)]


@pytest.mark.parametrize("nonsense", [None, 3, "x", {}])
async def test_tasks_in_the_background_are_those_that_claude_code_lists(tmp_path: Path, nonsense: object) -> None:
    def listed(tasks: object) -> SystemMessage:
        data = {"type": "system", "subtype": "background_tasks_changed", "tasks": tasks}
        return SystemMessage(subtype="background_tasks_changed", data=data)

    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        for tasks, count in [([{"task_id": "a"}, {"task_id": "b"}], 2), ([{"task_id": "b"}], 1), (nonsense, 0)]:
            Translator(session).take(listed(tasks))
            assert session.turn.background == count
        Translator(session).take(listed([{"task_id": "c"}]))
        session.agent_gone("agent_died", -9)
        assert session.turn.background == 0
        assert [kind for kind, _ in await events(session)] == [EventKind.MESSAGE] * 4


async def test_the_same_id_is_one_input(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        seqs = await asyncio.gather(*(session.accept(ask("one")) for _ in range(20)))
        assert len(set(seqs)) == 1
    async with opened(tmp_path) as session:
        assert await session.accept(ask("one")) == seqs[0]
        assert session.queued == 1


async def test_after_a_crash_the_started_input_is_reported_and_the_queued_one_is_run(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        await session.accept(ask("started"))
        await session.accept(ask("queued"))
        asking = asyncio.create_task(session.requests.ask(Question("Bash", {}, "may I", [])), name="asking")
        await asyncio.sleep(0)
        await session.journal.durable(session.journal.last)
        [pending] = session.projection.pending
        asking.cancel()  # the crash: what the cancelled callback would journal is not kept
        size = session.journal.file.size
        await asyncio.wait({asking})
    with (tmp_path / "j").open("r+b") as file:
        file.truncate(size)
    async with opened(tmp_path) as session:
        listener = Listener()
        session.agent_started(listener)
        assert listener.given == ["queued"]
        kinds = await events(session)
        assert ("interrupted", {"input_id": "started", "cause": "restart", "input_seq": 1}) in kinds
        assert ("permission_resolved", {"request_id": pending, "decision": "cancelled", "by": ""}) in kinds
        assert session.projection.pending == {}
        with pytest.raises(RefusedError) as refused:
            await session.requests.answer(pending, PermissionAnswer(decision="allow"))
        assert refused.value.code is ErrorCode.CONFLICT
    async with opened(tmp_path) as session:
        interrupted = [data["input_id"] for kind, data in await events(session) if kind == EventKind.INTERRUPTED]
        assert interrupted == ["started", "queued"]


async def test_the_first_answer_wins(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        asking = asyncio.create_task(
            session.requests.ask(Question("Bash", {"command": "ls"}, "may I", [])), name="asking"
        )
        await asyncio.sleep(0)
        await session.journal.durable(session.journal.last)
        [pending] = session.projection.pending
        answers = await asyncio.gather(
            *(
                session.requests.answer(pending, PermissionAnswer(decision="deny", by=str(number)))
                for number in range(5)
            ),
            return_exceptions=True,
        )
        assert [isinstance(answer, int) for answer in answers] == [True, False, False, False, False]
        assert (await asking).by == "0"


async def test_a_disk_that_refuses_refuses_inputs(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.journal.error = "the journal cannot be written: No space left on device"
        with pytest.raises(RefusedError) as refused:
            await session.accept(ask("one"))
        assert refused.value.code is ErrorCode.UNAVAILABLE
        assert session.queued == 0


async def test_changes_of_files_are_left_out_when_the_output_is_used_up(tmp_path: Path) -> None:
    change = {"path": "a", "op": "modified", "source": "filesystem"}
    async with opened(tmp_path) as session:
        session.journal.limit_output(OutputLimits(total_bytes=10_000, bytes_per_s=10_000))
        for _ in range(1_000):
            session.note(EventKind.FILE_MODIFIED, change)
            session.note(EventKind.GIT_ACTIVITY, {"repository": ".", "operation": "commit"})
            await session.journal.room()
        found = await events(session)
        session.note(EventKind.DIRECTORY_CHANGED, {"from": "a", "to": "b"})
        session.journal.limit_output(OutputLimits(total_bytes=1_000_000, bytes_per_s=10_000))
        session.note(EventKind.FILE_MODIFIED, change)
        assert [kind for kind, _ in (await events(session))[len(found) :]] == ["directory_changed", "file_modified"]
    assert len(found) < 250, "10,000 bytes of changes"
    assert found[-1][0] == "error"
    assert found[-1][1]["code"] == "output_limited"
    assert [kind for kind, _ in found].count("error") == 1


async def test_inputs_wait_for_a_budget_and_continue_when_it_is_raised(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        listener = Listener()
        session.pause_at_usd = 0.5
        session.agent_started(listener)
        await session.accept(ask("one"))
        await session.accept(ask("two"))
        Translator(session).take(replace(result("one"), total_cost_usd=1.0))
        await session.accept(ask("three"))
        assert listener.given == ["one"]
        assert (session.turn.view.waiting_for, session.queued) == ("budget", 2)
        session.set_budget(1.0)
        assert listener.given == ["one"], "it is still used up"
        session.set_budget(1.5)
        assert listener.given == ["one", "two"]
        Translator(session).take(replace(result("two"), total_cost_usd=1.75))
        assert listener.given == ["one", "two"]
        session.set_budget(None)
        assert listener.given == ["one", "two", "three"]
        states = [data["waiting_for"] for kind, data in await events(session) if kind == "state"]
        assert states.count("budget") == 2


async def test_a_cleared_conversation_is_another_one_whose_totals_begin_at_zero(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        session.agent_started(Listener())
        session.conversation_id = "old"
        translator = Translator(session)
        await session.accept(ask("one"))
        translator.take(SystemMessage(subtype="init", data={"type": "system", "subtype": "init", "session_id": "old"}))
        translator.take(replace(result("one"), total_cost_usd=1.0))
        new = "0190b5a0-0000-7000-8000-000000000000"
        translator.take(SystemMessage(subtype="init", data={"type": "system", "subtype": "init", "session_id": new}))
        assert session.conversation_id == new
        assert (session.spending.process_usd, session.spending.saved_usd) == (0.0, 0.0)
        assert session.spending.spent_usd == 1.0
        started = [data for kind, data in await events(session) if kind == "conversation_started"]
        assert started == [{"conversation_id": new, "reason": "cleared"}]
        assert session.projection.conversation_id == new


async def test_a_waiting_input_is_changed_and_cancelled_until_the_agent_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        listener = Listener()
        session.agent_started(listener)
        for name in ("one", "two", "three"):
            await session.accept(ask(name))
        assert [(each.id, each.input, each.by) for each in session.waiting_inputs()] == [
            ("two", "do two", "me"),
            ("three", "do three", "me"),
        ]
        seq = await session.change_input(ChangeInput(id="three", input="do it better", by="you"))
        await session.cancel_input(CancelInput(id="two", by="you"))
        assert [(each.id, each.input) for each in session.waiting_inputs()] == [("three", "do it better")]
        assert session.queued == 1
        reports = [(kind, data) for kind, data in await events(session) if kind.startswith("input_")]
        assert reports == [
            ("input_changed", {"id": "three", "input": "do it better", "by": "you"}),
            ("input_cancelled", {"id": "two", "by": "you"}),
        ]
        assert session.projection.queued["three"].input == "do it better"
        assert "two" not in session.projection.queued
        assert await session.accept(ask("two")) < seq, "a repeat of a cancelled input is not a new one"
        Translator(session).take(result("one"))
        assert listener.given == ["one", "three"]
        for input_id, code in (("three", "conflict"), ("two", "conflict"), ("never", "unknown_request")):
            with pytest.raises(RefusedError) as refused:
                await session.cancel_input(CancelInput(id=input_id))
            assert refused.value.code == code
        with pytest.raises(RefusedError) as refused:
            await session.change_input(ChangeInput(id="three", input=" "))
        assert refused.value.code == "input_empty"
        Translator(session).take(result("three"))
        assert session.turn.view.waiting_for == "prompt"


async def test_a_changed_queue_outlives_the_runner(tmp_path: Path) -> None:
    async with opened(tmp_path) as session:
        for name in ("one", "two"):
            await session.accept(ask(name))
        await session.change_input(ChangeInput(id="two", input="do it better"))
        await session.cancel_input(CancelInput(id="one"))
        assert session.turn.view.state == "active"
    async with opened(tmp_path) as session:
        listener = Listener()
        assert [each.input for each in session.waiting_inputs()] == ["do it better"]
        session.agent_started(listener)
        assert listener.given == ["two"]
