"""Claude Code is started before its session is there, and the session gets it or does not, and does not notice."""

import json
import os
import re
import signal
from pathlib import Path
from typing import Any

import pytest

from jelmore_protocol import PROTOCOL
from tests.integration.runner.harness import Runner, eventually
from tests.integration.runner.recording_model import recording_model

SESSION_ID = "0199aaaa-0000-7000-8000-000000000001"
OPTIONS: dict[str, Any] = {"setting_sources": ["project"]}


def claude_of(runner: Runner) -> list[int]:
    """Return the pids of Claude Code that run for the session."""
    mark = f"JELMORE_SESSION={runner.session_id}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        try:
            environment, command = (entry / "environ").read_bytes(), (entry / "comm").read_text().strip()
        except OSError:
            continue
        if mark in environment.split(b"\0") and command == "claude":
            found.append(int(entry.name))
    return found


async def prepare(runner: Runner, **options: Any) -> dict[str, Any]:
    body = {"protocol": PROTOCOL, "session_id": runner.session_id, "options": {**OPTIONS, **options}}
    answer = await runner.call("/prepare", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def until_ahead(runner: Runner, state: str) -> None:
    async def reached() -> bool:
        return bool((await runner.health())["agent_ahead"] == state)

    await eventually(reached, f"agent ahead: {state}")


async def connected(runner: Runner, **options: Any) -> int:
    """Start a runner with an agent that waits; return the agent's pid."""
    runner.start()
    await runner.listening()
    assert (await prepare(runner, **options))["phase"] == "dormant"
    await until_ahead(runner, "connected")
    assert not runner.journal.exists(), "a volume with a journal is one that a session has used"
    [pid] = claude_of(runner)
    return pid


async def begin(runner: Runner, **more: Any) -> dict[str, Any]:
    options = {**OPTIONS, **more.pop("options", {})}
    answer = await runner.call("/init", runner.init_body(options=options, **more))
    assert answer.status_code == 200, answer.text
    return await runner.until_phase("ready")


async def say(runner: Runner, text: str, number: int = 1) -> str:
    async with runner.open() as client:
        await client.send(type="input", id=f"i{number}", input=f"demo> say {text}")
        return str((await client.until_result(f"i{number}"))["result"])


def outline(runner: Runner) -> list[Any]:
    """Return the outline of the journal: the kinds of its events, and of the agent's messages."""
    found = []
    for event in runner.events():
        message = event["data"].get("message")
        found.append((event["kind"], (message["type"], message.get("subtype")) if isinstance(message, dict) else None))
    return found


def init_message(runner: Runner) -> dict[str, Any]:
    messages = [event["data"]["message"] for event in runner.events() if event["kind"] == "message"]
    return next(message for message in messages if message.get("subtype") == "init")


@pytest.mark.parametrize("options", [{}, {"permission_mode": "acceptEdits"}])
async def test_a_session_gets_the_agent_that_waits_and_has_the_same_journal(
    runner: Runner, tmp_path: Path, options: dict[str, Any]
) -> None:
    pid = await connected(runner)
    ready = await begin(runner, options=options)
    assert (ready["agent_ahead"], ready["agent_pid"]) == ("used", pid)
    assert "again" in await say(runner, "again")
    body = {"protocol": PROTOCOL, "session_id": runner.session_id, "options": {}}
    assert (await runner.call("/prepare", body)).status_code == 409
    said = init_message(runner)
    mode = options.get("permission_mode", "default")
    assert (said["session_id"], said["permissionMode"]) == (runner.session_id, mode)
    await runner.stop()

    folder = tmp_path / "cold"
    folder.mkdir()
    cold = Runner(folder, runner.gateway)
    try:
        await cold.begin(options={**OPTIONS, **options})
        assert (await cold.health())["agent_ahead"] == "none"
        await say(cold, "again")
        await cold.stop()
        assert outline(runner) == outline(cold)
    finally:
        cold.terminate()


async def first_turn(folder: Path, *, ahead: bool) -> tuple[list[dict[str, Any]], list[Any], dict[str, Any]]:
    """Return what the model was sent until the end of a session's first turn, its files, and the turn's result."""
    folder.mkdir()
    with recording_model() as model:
        runner = Runner(folder, model.address)
        runner.session_id = SESSION_ID
        try:
            if ahead:
                await connected(runner)
                assert model.bodies == [], "no call of the warm-up leaves the sandbox"
                home = folder / "session" / "home"
                assert not list(home.glob(".claude/projects/**/*.jsonl")), "nothing is in a transcript"
            else:
                runner.start()
                await runner.listening()
            await begin(runner)
            assert "again" in await say(runner, "again")
            await runner.stop()
        finally:
            if runner.process is not None:
                runner.terminate()
    [result] = [event["data"]["message"] for event in runner.events() if is_result(event)]
    written = sorted(each.name for each in (folder / "session" / "home").rglob("*.json*") if "backup" not in each.name)
    return model.bodies, written, result


def without_names(content: list[Any]) -> str:
    """Return the content as text without what differs between two sessions: their folder, and Claude Code's hash."""
    text = re.sub(r"cc_version=[\w.]+", "", json.dumps(content))
    return re.sub(r"(/tmp/jr-\w+|[\w/.-]+[/-](ahead|cold))\b", "FOLDER", text)


def is_result(event: dict[str, Any]) -> bool:
    return bool(event["kind"] == "message" and event["data"]["message"]["type"] == "result")


async def test_the_warm_up_of_an_agent_leaves_nothing_behind(tmp_path: Path) -> None:
    bodies, written, result = await first_turn(tmp_path / "ahead", ahead=True)
    cold_bodies, cold_written, cold_result = await first_turn(tmp_path / "cold", ahead=False)
    assert len(bodies) == len(cold_bodies) == 1
    assert bodies[0].keys() == cold_bodies[0].keys()
    assert bodies[0]["tools"] == cold_bodies[0]["tools"]
    for name in ("messages", "system"):
        assert without_names(bodies[0][name]) == without_names(cold_bodies[0][name])
    assert written == cold_written
    for name in ("usage", "modelUsage", "total_cost_usd", "num_turns", "session_id"):
        assert result[name] == cold_result[name], name


async def test_a_session_with_the_agent_that_waited_is_resumed_with_its_own_words_only(tmp_path: Path) -> None:
    with recording_model() as model:
        runner = Runner(tmp_path, model.address)
        try:
            await connected(runner)
            await begin(runner)
            await say(runner, "one")
            await runner.stop(final=False)
            assert runner.terminate() == 0
            await runner.begin(generation=2, resume=True, options=OPTIONS)
            await say(runner, "two", 2)
            await runner.stop()
        finally:
            if runner.process is not None:
                runner.terminate()
    [transcript] = (tmp_path / "session" / "home").glob(".claude/projects/*/*.jsonl")
    assert transcript.stem == runner.session_id
    entries = [json.loads(line) for line in transcript.read_text().splitlines()]
    prompts = [entry["message"]["content"] for entry in entries if entry["type"] == "user"]
    assert [said(each) for each in prompts] == ["demo> say one", "demo> say two"]
    assert [said(each["content"]) for each in model.bodies[-1]["messages"] if each["role"] == "user"] == [
        "demo> say one",
        "demo> say two",
    ]
    assert "model_not_found" not in json.dumps([model.bodies, entries])


def said(content: Any) -> str:
    """Return the person's text of a message's content: the last of its texts."""
    return str(content if isinstance(content, str) else content[-1]["text"])


@pytest.mark.parametrize(
    "options",
    [
        {"model": "demo-2"},
        {"effort": "low"},
        {"system_prompt": "be brief"},
        {"env": {"COLOUR": "blue"}},
        {"allowed_tools": ["Bash"]},
        {"max_turns": 3},
    ],
)
async def test_a_session_that_wants_another_agent_starts_its_own(runner: Runner, options: dict[str, Any]) -> None:
    pid = await connected(runner)
    ready = await begin(runner, options=options)
    assert ready["agent_ahead"] == "dropped"
    [own] = claude_of(runner)
    assert ready["agent_pid"] == own != pid
    assert "hello" in await say(runner, "hello")
    assert "error" not in {event["kind"] for event in runner.events()}


async def test_a_session_with_files_starts_its_own(runner: Runner) -> None:
    pid = await connected(runner)
    (runner.folder / "session" / "workspace" / "CLAUDE.md").write_text("Be brief.")
    ready = await begin(runner)
    assert ready["agent_pid"] not in {None, pid}
    assert claude_of(runner) == [ready["agent_pid"]]
    assert ready["agent_ahead"] == "dropped"


async def test_an_agent_that_dies_while_it_waits_is_replaced_and_costs_no_session(runner: Runner) -> None:
    pid = await connected(runner)
    os.kill(pid, signal.SIGKILL)
    await until_ahead(runner, "failed")
    await prepare(runner)
    await until_ahead(runner, "connected")
    [second] = claude_of(runner)
    assert second != pid
    os.kill(second, signal.SIGKILL)
    ready = await begin(runner)
    assert ready["agent_pid"] not in {None, pid, second}
    assert "hello" in await say(runner, "hello")
    assert not [event for event in runner.events() if event["kind"] == "error"]


async def test_an_init_may_wait_until_the_agent_is_ready(runner: Runner) -> None:
    await connected(runner)
    body = runner.init_body(options=OPTIONS)
    answer = (await runner.call("/init?ready_within_s=30", body)).json()
    assert (answer["phase"], answer["agent_ahead"]) == ("ready", "used")
    for unreadable in ("", "soon", "-1", "nan"):
        assert (await runner.call(f"/init?ready_within_s={unreadable}", body)).status_code == 200


async def test_an_init_does_not_wait_longer_than_it_was_asked_to(runner: Runner) -> None:
    runner.start()
    await runner.listening()
    answer = (await runner.call("/init?ready_within_s=0.01", runner.init_body(options=OPTIONS))).json()
    assert answer["phase"] == "starting"
    await runner.until_phase("ready")


async def test_an_agent_that_is_still_starting_is_waited_for_or_ended(runner: Runner) -> None:
    runner.start()
    await runner.listening()
    await prepare(runner)
    ready = await begin(runner)
    assert ready["agent_ahead"] == "used"
    assert claude_of(runner) == [ready["agent_pid"]]


async def test_another_agent_is_started_when_it_is_to_start_differently(runner: Runner) -> None:
    pid = await connected(runner)
    await prepare(runner)
    assert claude_of(runner) == [pid]
    await prepare(runner, max_turns=3)
    await until_ahead(runner, "connected")
    [second] = claude_of(runner)
    assert second != pid
    assert (await begin(runner, options={"max_turns": 3}))["agent_pid"] == second


async def test_nothing_is_left_of_an_agent_whose_session_never_comes(runner: Runner) -> None:
    await connected(runner)
    assert runner.terminate() == 0
    assert claude_of(runner) == []


async def test_an_agent_ahead_may_not_use_mcp_servers(runner: Runner) -> None:
    runner.start()
    await runner.listening()
    body = {"protocol": PROTOCOL, "session_id": runner.session_id, "options": {"mcp_servers": {"a": {}}}}
    answer = await runner.call("/prepare", body)
    assert (answer.status_code, "options.mcp_servers" in answer.text) == (422, True)


async def test_an_agent_that_was_started_before_a_setup_ran_is_not_the_sessions(runner: Runner) -> None:
    await connected(runner)
    await begin(runner, setup={"run": "echo APPLE > CLAUDE.md", "within_s": 30}, requires=["setup"])
    assert "hello" in await say(runner, "hello")
    assert (await runner.health())["agent_ahead"] == "dropped"
    kinds = [event["kind"] for event in runner.events()]
    assert kinds.index("setup_ended") < kinds.index("message"), "the agent reads what the setup wrote"
    await runner.stop()
