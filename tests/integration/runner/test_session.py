"""Turns, questions, interrupts and replays, seen by the people who connect."""

import asyncio
import os
import signal
import time
from functools import partial
from pathlib import Path

import httpx
import pytest

from jelmore_runner.egress import EgressForwarder
from jelmore_runner.settings import Address
from tests.integration.runner.harness import Runner, eventually

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
    model = await asyncio.start_unix_server(to_model._serve, str(runner.folder / "m.sock"))
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
    told = [event["data"]["path"] for event in client.events if event["kind"] == "file_modified"]
    assert told.count("tool.txt") == 1
    git = next(event["data"] for event in client.events if event["kind"] == "git_activity")
    assert git["branch"] == "trunk"
    assert not [path for path in told if ".git" in path]


async def test_claude_killed_in_a_turn_is_told_and_started_again(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="zero", input="demo> say remember me")
        await client.until_result("zero")
        await client.send(type="input", id="one", input="demo> words 500 50")
        await client.until(lambda frame: frame["type"] == "delta")
        await client.send(type="input", id="two", input="demo> say after the crash")
        await client.until_event("input", id="two")
        pid = (await runner.health())["agent_pid"]
        os.kill(pid, signal.SIGKILL)
        interrupted = await client.until_event("interrupted")
        assert interrupted["data"] | {"input_seq": 0} == {"input_id": "one", "cause": "agent_died", "input_seq": 0}
        assert (await client.until_event("error"))["data"]["code"] == "agent_died"
        assert "after the crash" in (await client.until_result("two"))["result"]
    assert (await runner.health())["agent_pid"] != pid
    assert client.seqs == list(range(1, len(client.seqs) + 1))


async def test_claude_killed_while_it_asks_withdraws_the_question(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run touch asked")
        asked = await client.until_event("permission_requested")
        os.kill((await runner.health())["agent_pid"], signal.SIGKILL)
        resolved = await client.until_event("permission_resolved", request_id=asked["data"]["request_id"])
        assert resolved["data"]["decision"] == "cancelled"
        await client.until_event("interrupted", input_id="one")
        await client.until_event("state", waiting_for="prompt")


@pytest.mark.parametrize("moment", ["at once", "in a turn"])
async def test_the_runner_killed_in_a_turn_goes_on_where_it_was(runner: Runner, moment: str) -> None:
    await runner.begin()
    async with runner.open() as client:
        if moment == "in a turn":
            await client.send(type="input", id="zero", input="hello")
            await client.until_result("zero")
        await client.send(type="input", id="one", input="demo> words 500 50")
        await client.send(type="input", id="two", input="demo> say second life")
        await client.until_event("input", id="two")
        if moment == "in a turn":
            await client.until(lambda frame: frame["type"] == "delta")
        runner.kill()
        await client.until_closed()
    seen = client.seqs
    await runner.begin(generation=2, resume=True, after=seen[-1])
    async with runner.open(after=seen[-1]) as again:
        assert (await again.next())["resume"] == "ok"
        assert "second life" in (await again.until_result("two"))["result"]
        await again.send(type="input", id="one", input="never twice")
        repeated = await again.reply("one")
        await eventually(lambda: runner.events()[-1]["data"].get("waiting_for") == "prompt", "the turn has ended")
        if again.seqs[-1] < runner.events()[-1]["seq"]:  # it may have come before the reply
            await again.until(lambda frame: frame.get("seq") == runner.events()[-1]["seq"])
    assert repeated["seq"] == next(event["seq"] for event in client.events if event["data"].get("id") == "one")
    everything = runner.events()
    assert [event["seq"] for event in everything] == list(range(1, len(everything) + 1))
    assert seen + again.seqs == list(range(1, again.seqs[-1] + 1))
    ends = [event["data"] for event in everything if event["kind"] == "interrupted"]
    assert [(end["input_id"], end["cause"]) for end in ends] == [("one", "restart")]


async def test_a_killed_runner_leaves_no_second_agent(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run touch began && tail -f /dev/null")
        asked = await client.until_event("permission_requested")
        await client.send(type="permission", request_id=asked["data"]["request_id"], decision="allow")
        await client.until_event("permission_resolved")
        mark = f"JELMORE_SESSION={runner.session_id}".encode()
        await eventually(lambda: len(marked(mark)) > 1, "the tool runs")
        runner.kill()
    await runner.begin(generation=2, resume=True)
    pid = (await runner.health())["agent_pid"]
    assert [other for other in marked(mark) if other != pid and not descends(other, pid)] == []
    await runner.stop()
    assert marked(mark) == []


async def test_a_stop_ends_everything_and_says_so(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client, runner.relay() as relay:
        await client.send(type="input", id="one", input="demo> run touch began && tail -f /dev/null")
        asked = await client.until_event("permission_requested")
        await client.send(type="permission", request_id=asked["data"]["request_id"], decision="allow")
        await client.until_event("permission_resolved")
        mark = f"JELMORE_SESSION={runner.session_id}".encode()
        await eventually(lambda: len(marked(mark)) > 1, "the tool runs")
        assert (await runner.health())["stopping"] is False
        answer = await runner.call("/stop", {"reason": "enough", "grace_s": 4})
        assert (answer.status_code, answer.json()["stopping"]) == (200, True)
        assert await client.until_closed() == 1000
        assert await relay.until_closed() == 1000
    assert client.events[-1]["kind"] == "exited"
    assert client.events[-1]["data"]["reason"] == "enough"
    assert client.seqs == relay.seqs
    assert marked(mark) == []
    async with runner.open() as late:
        hello = await late.next()
        assert hello["state"] == "ended"
        assert await late.until_closed() == 1000
        assert late.seqs == client.seqs
    assert (await runner.call("/input", {"id": "x", "input": "too late"})).json()["code"] == "ended"
    assert runner.terminate() == 0


async def test_a_term_signal_alone_stops_gracefully_and_is_not_the_end_of_the_session(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.next()
        status = await asyncio.to_thread(runner.terminate)
        assert await client.until_closed() == 1001
    assert status == 0
    assert runner.events()[-1]["kind"] == "exited"
    assert not (runner.folder / "c.sock").exists()


async def test_from_a_term_signal_on_the_runner_says_that_the_agents_end_was_asked_for(runner: Runner) -> None:
    await runner.begin()
    health = await runner.health()
    assert health["stopping"] is False
    os.kill(health["agent_pid"], signal.SIGSTOP)  # it will not go before it is killed
    ending = asyncio.create_task(asyncio.to_thread(runner.terminate), name="terminate")
    seen: set[tuple[str, bool]] = set()

    async def gone() -> bool:
        try:
            health = await runner.health()
        except httpx.TransportError:
            return True
        seen.add((health["phase"], health["stopping"]))
        return False

    await eventually(gone, "the control socket is closed")
    assert await ending == 0
    assert ("ready", True) in seen
    assert ("ended", False) not in seen


async def test_a_turn_cut_short_by_a_stop_that_is_not_the_end_is_told_as_interrupted(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> words 500 50")
        await client.until(lambda frame: frame["type"] == "delta")
        await runner.stop(final=False)
        told = await client.until_event("interrupted")
    (given,) = (event for event in runner.events() if event["kind"] == "input")
    assert told["data"] == {"input_id": "one", "cause": "stopped", "input_seq": given["seq"]}
    assert not [event for event in runner.events() if event["data"].get("message", {}).get("type") == "result"]


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


async def test_a_task_in_the_background_is_counted_until_it_ends_and_keeps_the_session_awake(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    go_on = runner.folder / "session/workspace/go-on"
    async with runner.open() as client:
        waiting = "demo> background until test -e go-on; do sleep 0.05; done"
        await client.send(type="input", id="one", input=f"{waiting}\n{waiting}\ndemo> say that is all")
        await client.until_result("one")
        await client.until_event("state", state="waiting_input", waiting_for="prompt")
        health = await runner.health()
        assert (health["state"], health["background"]) == ("waiting_input", 2)
        refused = await runner.call("/quiet", {"on": True})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        go_on.touch()
        await eventually(lambda: fell_quiet(runner), "both tasks and the turns they woke the agent for have ended")
        assert (await runner.health())["background"] == 0


async def test_a_process_that_a_tool_left_behind_keeps_the_session_awake(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    go_on = runner.folder / "session/workspace/go-on"
    async with runner.open() as client:
        script = "nohup sh -c 'until test -e go-on; do sleep 0.05; done' > /dev/null 2>&1 &"
        await client.send(type="input", id="one", input=f"demo> run {script}")
        await client.until_result("one")
        await client.until_event("state", state="waiting_input", waiting_for="prompt")
        assert (await runner.health())["background"] == 1
        refused = await runner.call("/quiet", {"on": True})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
        go_on.touch()
        await eventually(lambda: fell_quiet(runner), "the process has ended")


async def test_the_background_is_empty_after_the_agent_died(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> background tail -f /dev/null")
        await client.until_result("one")
        health = await runner.health()
        assert health["background"] == 1
        os.kill(health["agent_pid"], signal.SIGKILL)
        await client.until_event("error", code="agent_died")
        assert (await runner.health())["background"] == 0


async def test_a_prompt_gets_its_own_result_when_a_background_task_wakes_the_agent_first(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> background sleep 1")
        await client.until_result("one")
        await client.send(type="input", id="two", input="demo> sleep 2\ndemo> say TWO")
        await client.send(type="input", id="three", input="demo> say THREE")
        assert "TWO" in (await client.until_result("two"))["result"]
        assert "THREE" in (await client.until_result("three"))["result"]


async def test_an_interrupt_also_stops_the_turn_that_holds_up_the_running_prompt(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> background sleep 1")
        await client.until_result("one")
        await client.send(type="input", id="two", input="demo> words 40 50")
        await client.send(type="input", id="three", input="demo> words 500 50")
        await client.until_result("two")
        await client.until(lambda frame: frame.get("kind") == "message" and frame["data"]["input_id"] is None)
        began = time.monotonic()
        await client.send(type="interrupt", id="stop")
        assert (await client.until_result("three"))["is_error"] is True
        assert time.monotonic() - began < 15, "25 s of words were left"
        assert (await client.reply("stop"))["type"] == "ack"


async def fell_quiet(runner: Runner) -> bool:
    return (await runner.call("/quiet", {"on": True})).status_code == 200


def marked(mark: bytes) -> list[int]:
    """Return living processes with the mark in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def descends(pid: int, ancestor: int) -> bool:
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


async def test_orphans_are_collected_as_soon_as_they_end(runner: Runner) -> None:
    await runner.begin(options={"allowed_tools": ["Bash"]})
    assert runner.process is not None
    own = runner.process.pid
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> run for n in $(seq 500); do (true & ); done; echo done")
        assert (await client.until_result("one"))["is_error"] is False
        await eventually(lambda: not zombies(own), "no dead child is left", deadline_s=3)
        os.kill((await runner.health())["agent_pid"], signal.SIGKILL)  # its exit code is not lost to the reaper
        died = await client.until_event("error", code="agent_died")
        assert "signal 9" in died["data"]["message"]


def zombies(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state, its_parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            if state == "Z" and int(its_parent) == parent:
                found.append(int(entry.name))
    return found


async def test_a_claude_that_cannot_start_ends_the_run_with_a_reason(runner: Runner) -> None:
    runner.environment["JELMORE_RUNNER_CLAUDE"] = "/nowhere/claude"
    runner.start()
    await runner.listening()
    await runner.call("/init", runner.init_body())
    health = await runner.until_phase("ended")
    assert health["agent_exit_code"] == 127
    assert "start_failed" in health["error"]
    async with runner.open() as client:
        assert await client.until_closed() == 1000
    assert client.events[-1]["kind"] == "exited"
    assert client.events[-1]["data"]["requested"] is False


async def test_a_claude_that_keeps_dying_is_given_up_and_says_so(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        for _ in range(4):
            pid = await eventually(lambda: agent_pid(runner), "Claude Code runs")
            os.kill(pid, signal.SIGKILL)
            await eventually(partial(gone, runner, pid), "the runner has noticed")
        assert await client.until_closed() == 1000
    assert (await runner.health())["phase"] == "ended"
    assert client.events[-1]["kind"] == "exited"
    assert client.events[-1]["data"]["reason"] == "restarts_exhausted"
    assert client.events[-1]["data"]["exit_code"] == -9


async def agent_pid(runner: Runner) -> int | None:
    pid = (await runner.health())["agent_pid"]
    return int(pid) if pid is not None else None


async def gone(runner: Runner, pid: int) -> bool:
    return bool((await runner.health())["agent_pid"] != pid)


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
