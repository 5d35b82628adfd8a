"""Turns, questions, interrupts and replays, seen by the people who connect."""

import asyncio
import os
import time

import pytest

from jelmore_runner.egress import EgressForwarder
from jelmore_runner.settings import Address
from tests.integration.runner.harness import Runner

pytestmark = pytest.mark.integration


async def test_a_turn_with_a_tool_and_a_permission(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        hello = await client.next()
        assert (hello["type"], hello["resume"], hello["state"], hello["waiting_for"]) == (
            "hello",
            "ok",
            "waiting_input",
            "prompt",
        )
        await client.send(type="input", id="one", input="demo> run touch made-by-the-agent\ndemo> say done")
        asked = await client.until_event("permission_requested")
        assert asked["data"]["tool"] == "Bash"
        assert asked["data"]["input"]["command"] == "touch made-by-the-agent"
        waiting = await client.until_event("state")
        assert waiting["data"] == {"state": "waiting_input", "waiting_for": "permission", "input_id": "one"}
        async with runner.open(after=None) as late:
            hello = await late.next()
            assert [pending["request_id"] for pending in hello["pending"]] == [asked["data"]["request_id"]]
            await late.send(type="permission", id="p1", request_id=asked["data"]["request_id"], decision="allow")
            assert (await late.reply("p1"))["type"] == "ack"
            await late.send(type="permission", id="p2", request_id=asked["data"]["request_id"], decision="deny")
            assert (await late.reply("p2"))["code"] == "conflict"
        assert (await client.until_event("permission_resolved"))["data"]["decision"] == "allow"
        result = await client.until_result("one")
        assert result["is_error"] is False
        assert "done" in result["result"]
        await client.until_event("state", state="waiting_input", waiting_for="prompt")
    assert (runner.folder / "session/workspace/made-by-the-agent").exists()
    assert client.seqs == list(range(1, len(client.seqs) + 1))
    assert [event for event in runner.events() if event["seq"] in client.seqs] == client.events


async def test_a_denied_permission_keeps_the_tool_from_running(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run touch forbidden")
        asked = await client.until_event("permission_requested")
        await client.send(type="permission", request_id=asked["data"]["request_id"], decision="deny", message="never")
        result = await client.until_result("one")
        assert "never" in result["result"]
    assert not (runner.folder / "session/workspace/forbidden").exists()


async def test_a_question_is_answered(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> ask Which colour? | Red | Blue")
        asked = await client.until_event("question")
        assert asked["data"]["title"] == "Which colour?"
        await client.until_event("state", waiting_for="question")
        assert asked["data"]["tool_use_id"]
        assert asked["data"]["agent_id"] is None
        wrong = {"decision": "allow", "answers": {"Which size?": "Blue"}}
        refused = await runner.call(f"/permissions/{asked['data']['request_id']}", wrong)
        assert (refused.status_code, refused.json()["code"]) == (422, "bad_frame")
        assert [pending["title"] for pending in (await runner.health())["pending"]] == ["Which colour?"]
        answers = {"Which colour?": "Blue"}
        await client.send(type="permission", request_id=asked["data"]["request_id"], decision="allow", answers=answers)
        assert "Blue" in (await client.until_result("one"))["result"]


@pytest.mark.parametrize("early", [True, False])
async def test_an_interrupt_ends_the_turn_however_early_it_comes(runner: Runner, early: bool) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> words 500 50")
        if not early:
            await client.until(lambda frame: frame["type"] == "delta")
        await client.send(type="interrupt", id="stop")
        began = time.monotonic()
        result = await client.until_result("one")
        assert result["is_error"] is True
        assert time.monotonic() - began < 15, "25 s of words were left"
        assert (await client.reply("stop"))["type"] == "ack"
        await client.send(type="input", id="two", input="still there?")
        assert "still there?" in (await client.until_result("two"))["result"]


async def test_an_interrupt_withdraws_a_pending_permission(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run touch asked")
        asked = await client.until_event("permission_requested")
        await client.send(type="interrupt")
        resolved = await client.until_event("permission_resolved")
        assert resolved["data"]["decision"] == "cancelled"
        await client.send(type="permission", id="late", request_id=asked["data"]["request_id"], decision="allow")
        assert (await client.reply("late"))["code"] == "conflict"
        await client.send(type="permission", id="wild", request_id="none", decision="allow")
        assert (await client.reply("wild"))["code"] == "unknown_request"


async def test_inputs_queue_and_the_same_id_is_taken_once(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        for name in ("one", "two", "one", "three", "two"):
            await client.send(type="input", id=name, input=f"demo> words 5 20\ndemo> say this is {name}")
        await client.until_result("three")
        await client.until_event("state", state="waiting_input")
    acknowledged = [(frame["id"], frame["seq"]) for frame in client.frames if frame["type"] == "ack"]
    inputs = {event["data"]["id"]: event["seq"] for event in client.events if event["kind"] == "input"}
    assert acknowledged == [(name, inputs[name]) for name in ("one", "two", "one", "three", "two")]
    results = [
        event["data"]["input_id"]
        for event in client.events
        if event["kind"] == "message" and event["data"]["message"]["type"] == "result"
    ]
    assert results == ["one", "two", "three"]


async def test_coming_back_with_after_gives_exactly_what_was_missed(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as first:
        await first.send(type="input", id="one", input="hello")
        await first.until_result("one")
    seen = first.seqs[-1]
    async with runner.relay() as relay:
        assert (await relay.next())["type"] == "hello"
        await runner.call("/input", {"id": "two", "input": "again"})
        await relay.until_result("two")
        await relay.until_event("state", waiting_for="prompt")
    async with runner.open(after=seen) as second:
        assert (await second.next())["resume"] == "ok"
        await second.until(lambda frame: frame.get("seq") == relay.seqs[-1])
    assert second.seqs == list(range(seen + 1, relay.seqs[-1] + 1))
    async with runner.open(after=10_000) as lost:
        assert (await lost.next())["resume"] == "gap"
        assert (await lost.next())["seq"] == 1


async def test_deltas_come_to_those_who_want_them_and_are_never_journaled(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as curious, runner.open() as plain:
        await plain.send(type="subscribe", id="s", deltas=False)
        await plain.until(lambda frame: frame["type"] == "ack")
        await curious.send(type="input", id="one", input="demo> words 20 10")
        await curious.until_result("one")
        await plain.until_result("one")
    text = "".join(
        frame["data"]["event"].get("delta", {}).get("text", "") for frame in curious.frames if frame["type"] == "delta"
    )
    assert "word1 word2" in text
    assert "word20" in text
    assert not [frame for frame in plain.frames if frame["type"] == "delta"]
    assert curious.seqs == plain.seqs
    assert "delta" not in {event["type"] for event in runner.events()}


async def test_the_agent_is_given_nothing_of_the_runners_environment(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run env > env.txt; echo done")
        asked = await client.until_event("permission_requested")
        await client.send(type="permission", request_id=asked["data"]["request_id"], decision="allow")
        await client.until_result("one")
    environment = (runner.folder / "session/workspace/env.txt").read_text()
    assert "must-not-reach-the-agent" not in environment
    assert "JELMORE_RUNNER" not in environment
    assert "token-of-the-gateway" not in environment


async def test_the_agents_tools_are_led_to_the_proxy_and_its_model_calls_are_not(runner: Runner) -> None:
    heads: list[bytes] = []

    async def egress(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 403 not allowed\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbody")
        await writer.drain()
        writer.close()

    server = await asyncio.start_unix_server(egress, str(runner.folder / "e.sock"))
    # As in a container, both sockets of the gateway are in one folder.
    to_model = EgressForwarder(Address.parse(runner.gateway))
    model = await asyncio.start_unix_server(to_model.serve, str(runner.folder / "m.sock"))
    runner.gateway = f"unix:{runner.folder}/m.sock"
    runner.environment["JELMORE_RUNNER_EGRESS"] = f"unix:{runner.folder}/e.sock"
    await runner.begin(options={"allowed_tools": ["Bash"]})
    fetch = "import urllib.request as u; u.urlopen('http://other.example/x', timeout=9)"
    async with runner.open() as client:
        await client.send(type="input", id="one", input=f'demo> run python3 -c "{fetch}" 2>out.txt; echo done')
        await client.until_result("one")
    for each in (server, model):
        each.close()
    assert "HTTP Error 403: not allowed" in (runner.folder / "session/workspace/out.txt").read_text()
    # Claude Code keeps to its own forwarder on loopback.
    assert [head.split(b"\r\n")[0] for head in heads] == [b"GET http://other.example/x HTTP/1.1"]


async def test_files_directories_and_git_are_noted(runner: Runner) -> None:
    workspace = runner.folder / "session/workspace"
    await runner.begin(
        options={"permission_mode": "bypassPermissions"} if os.geteuid() else {"allowed_tools": ["Bash", "Write"]}
    )
    async with runner.open() as client:
        lines = [
            f"demo> write {workspace}/tool.txt hello",
            "demo> run mkdir sub && cd sub && echo x > shell.txt",
            "demo> run git init -q -b trunk . && git -c user.name=a -c user.email=a@b commit -q --allow-empty -m first",
            "demo> say done",
        ]
        await client.send(type="input", id="one", input="\n".join(lines))
        await client.until_event("git_activity", op="commit")
        notes = [(event["kind"], event["data"]) for event in client.events]
        assert ("file_modified", {"path": "tool.txt", "op": "created", "source": "tool"}) in notes
        assert ("directory_changed", {"from": str(workspace), "to": f"{workspace}/sub"}) in notes
        shell = {"path": "sub/shell.txt", "op": "created", "source": "filesystem"}
        if ("file_modified", shell) not in notes:
            await client.until_event("file_modified", **shell)
    paths = [event["data"]["path"] for event in client.events if event["kind"] == "file_modified"]
    assert paths.count("tool.txt") == 1
    git = next(event["data"] for event in client.events if event["kind"] == "git_activity")
    assert git["branch"] == "trunk"
    assert not [path for path in paths if ".git" in path]


async def test_a_first_input_is_run_once_however_often_the_session_starts(runner: Runner) -> None:
    first = {"id": "first", "input": "demo> say only once"}
    await runner.begin(first_input=first)
    async with runner.open() as client:
        await client.until_result("first")
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=2, resume=True, first_input=first)
    async with runner.open() as client:
        await client.send(type="input", id="second", input="demo> say next")
        await client.until_result("second")
    assert [event["data"]["id"] for event in client.events if event["kind"] == "input"] == ["first", "second"]


async def test_waiting_inputs_are_listed_changed_and_cancelled(runner: Runner) -> None:
    await runner.begin(requires=["budget"], pause_at_usd=0)
    async with runner.open() as client:
        for name in ("one", "two"):
            await client.send(type="input", id=name, input=f"demo> say {name}")
            await client.until_event("input", id=name)
        await client.send(type="change_input", id="c", input_id="two", input="demo> say better")
        await client.until_event("input_changed", id="two")
        await client.send(type="cancel_input", id="d", input_id="one")
        await client.until_event("input_cancelled", id="one")
        queue = (await runner.call("/queue")).json()["inputs"]
        assert [(each["id"], each["input"]) for each in queue] == [("two", "demo> say better")]
        refused = await runner.call("/queue/cancel", {"id": "one"})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        assert (await runner.call("/queue/change", {"id": "x", "input": "y"})).status_code == 404
        await runner.call("/budget", {"pause_at_usd": None})
        assert "better" in (await client.until_result("two"))["result"]
        await client.send(type="cancel_input", id="e", input_id="two")
        late = await client.until(lambda frame: frame["type"] == "error" and frame["id"] == "e")
        assert late["code"] == "conflict"
    assert (await runner.call("/queue")).json() == {"inputs": []}
