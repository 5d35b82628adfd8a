"""Rewinding a session with a real Claude Code: what the model is sent afterwards, and what the files are."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.runner.harness import Client, Runner, eventually
from tests.integration.runner.recording_model import RecordingModel
from tests.integration.runner.test_transcripts import Manager, messages_of, on_volume, transcript_of

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("model")]


def workspace(runner: Runner) -> Path:
    return runner.folder / "session" / "workspace"


async def turn(client: Client, name: str, text: str) -> None:
    await client.send(type="input", id=name, input=text)
    await client.until_result(name)


async def waits(runner: Runner) -> None:
    async def idle() -> bool:
        return bool((await runner.health())["waiting_for"] == "prompt")

    await eventually(idle, "the agent is idle")


async def rewind(runner: Runner, name: str, **more: Any) -> httpx.Response:
    await waits(runner)
    seqs = [each["seq"] for each in runner.events() if each["kind"] == "input" and each["data"]["id"] == name]
    return await runner.call("/rewind", {"to_seq": seqs[0], "input_id": name, "by": "ann", **more})


def sent_with(model: RecordingModel, text: str) -> str:
    """Return the last request of the model that has this text."""
    return next(found for each in reversed(model.turns) if text in (found := json.dumps(each)))


OPTIONS: dict[str, Any] = {"options": {"allowed_tools": ["Bash"]}}


async def test_files_and_conversation_are_those_before_the_prompt(runner: Runner, model: RecordingModel) -> None:
    await runner.begin(**OPTIONS)
    async with runner.open() as client:
        await turn(client, "one", "demo> run echo first > one; say kept")
        await turn(client, "two", "demo> run echo changed > one && echo TAKEN-BACK > two")
        pid = (await runner.health())["agent_pid"]
        answer = await rewind(runner, "two")
        assert answer.status_code == 200, answer.text
        event = await client.until_event("rewound", input_id="two")
        assert answer.json() == {"seq": event["seq"]}
        assert {name: event["data"][name] for name in ("files", "conversation", "by")} == {
            "files": True,
            "conversation": True,
            "by": "ann",
        }
        assert {path.name: path.read_text() for path in workspace(runner).iterdir()} == {"one": "first\n"}
        again = await rewind(runner, "two")
        assert again.json() == answer.json(), "it can be repeated"
        await turn(client, "three", "demo> say goes on")
        assert (await runner.health())["agent_pid"] != pid
    request = sent_with(model, "say goes on")
    assert "say kept" in request, "what was before is known"
    assert "TAKEN-BACK" not in request, "what was taken back is not"
    assert [each["data"]["code"] for each in runner.events() if each["kind"] == "error"] == []
    texts = json.dumps(messages_of(on_volume(runner)))
    assert "say goes on" in texts
    assert "TAKEN-BACK" not in texts


async def test_the_first_prompt_leaves_an_empty_conversation(runner: Runner, model: RecordingModel) -> None:
    (runner.folder / "session" / "workspace").mkdir(parents=True)
    (workspace(runner) / "given").write_text("given")
    await runner.begin(**OPTIONS)
    async with runner.open() as client:
        await turn(client, "one", "demo> run rm given")
        assert (await rewind(runner, "one")).status_code == 200
        started = await client.until_event("conversation_started")
        assert started["data"]["reason"] == "rewound"
        await turn(client, "two", "demo> say afresh")
    assert "rm given" not in sent_with(model, "say afresh")
    assert (workspace(runner) / "given").read_text() == "given"


async def test_only_files_or_only_the_conversation(runner: Runner, model: RecordingModel) -> None:
    await runner.begin(**OPTIONS)
    async with runner.open() as client:
        await turn(client, "one", "demo> say begins")
        await turn(client, "two", "demo> run touch made")
        pid = (await runner.health())["agent_pid"]
        assert (await rewind(runner, "two", conversation=False)).status_code == 200
        assert not (workspace(runner) / "made").exists()
        await turn(client, "three", "demo> run touch made-again")
        assert (await runner.health())["agent_pid"] == pid, "the agent goes on"
        assert "touch made" in sent_with(model, "touch made-again")
        assert (await rewind(runner, "two", files=False)).status_code == 200
        await turn(client, "four", "demo> say ends")
    assert "touch made" not in sent_with(model, "say ends")
    assert (workspace(runner) / "made-again").exists()


async def test_what_cannot_be_taken_back_is_refused_and_changes_nothing(runner: Runner) -> None:
    await runner.begin(**OPTIONS)
    async with runner.open() as client:
        await turn(client, "one", "demo> say begins")
        await client.send(type="input", id="long", input="demo> run sleep 30")
        await client.until_event("tool_used")
        [seq] = [each["seq"] for each in runner.events() if each["data"].get("id") == "one"]
        refused = await runner.call("/rewind", {"to_seq": seq, "input_id": "one"})
        assert (refused.status_code, "a turn runs" in refused.text) == (409, True)
        await runner.call("/interrupt", {})
        await client.until_result("long")
        await waits(runner)
        before = len(runner.events())
        unknown = await runner.call("/rewind", {"to_seq": 1, "input_id": "never", "conversation": False})
        assert (unknown.status_code, "no snapshot" in unknown.text) == (409, True), unknown.text
        unknown = await runner.call("/rewind", {"to_seq": 1, "input_id": "never", "files": False})
        assert (unknown.status_code, "no such prompt" in unknown.text) == (409, True), unknown.text
        await turn(client, "two", "demo> say goes on")
        assert "begins" in json.dumps(messages_of(on_volume(runner)))
        assert "rewound" not in {each["kind"] for each in runner.events()[before:]}


async def test_the_database_has_what_is_left_and_the_next_start_resumes_it(
    runner: Runner, model: RecordingModel
) -> None:
    manager = Manager()
    await runner.begin(**OPTIONS)
    async with transcript_of(runner) as connection:
        follow = asyncio.create_task(manager.follow(connection, lambda: False), name="following")
        async with runner.open() as client:
            await turn(client, "one", "demo> say kept")
            await turn(client, "two", "demo> say dropped")
            await eventually(lambda: "dropped" in json.dumps(list(manager.lines.values())), "the database has both")
            assert (await rewind(runner, "two", files=False)).status_code == 200

            def is_left() -> bool:
                texts = json.dumps(list(manager.lines.values()))
                return "dropped" not in texts and "kept" in texts

            await eventually(is_left, "the database has what is left")
            assert manager.messages(runner.session_id) == messages_of(on_volume(runner))
        follow.cancel()
    await runner.stop(final=False)
    runner.terminate()
    await runner.begin(generation=2, resume=True, **OPTIONS)
    async with runner.open() as client:
        await turn(client, "three", "demo> say goes on")
    request = sent_with(model, "say goes on")
    assert "say kept" in request
    assert "dropped" not in request


async def test_a_workspace_above_the_bound_is_said_once_and_costs_no_turn(runner: Runner) -> None:
    folder = workspace(runner)
    folder.mkdir(parents=True)
    with (folder / "large").open("wb") as file:
        file.truncate(300 * 1024**2)
    await runner.begin(**OPTIONS)
    async with runner.open() as client:
        for name in ("one", "two"):
            await turn(client, name, "demo> say hello")
        refused = await rewind(runner, "two", conversation=False)
        assert refused.status_code == 409
        (folder / "large").unlink()
        await turn(client, "three", "demo> run touch made")
        assert (await rewind(runner, "three")).status_code == 200
        assert not (folder / "made").exists()
    codes = [each["data"]["code"] for each in runner.events() if each["kind"] == "error"]
    assert codes == ["snapshot_skipped"]
