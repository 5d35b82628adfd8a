"""The ways a run ends: a stop, a signal, a death of the agent or of the runner, and a start that fails."""

import asyncio
import os
import signal
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.integration.runner.harness import Runner, eventually

pytestmark = pytest.mark.integration


async def test_claude_killed_in_a_turn_is_reported_and_started_again(runner: Runner) -> None:
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
async def test_the_runner_killed_in_a_turn_continues_where_it_was(runner: Runner, moment: str) -> None:
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


async def test_a_turn_cut_short_by_a_stop_that_is_not_the_end_is_reported_as_interrupted(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> words 500 50")
        await client.until(lambda frame: frame["type"] == "delta")
        await runner.stop(final=False)
        interrupted = await client.until_event("interrupted")
    (given,) = (event for event in runner.events() if event["kind"] == "input")
    assert interrupted["data"] == {"input_id": "one", "cause": "stopped", "input_seq": given["seq"]}
    assert not [event for event in runner.events() if event["data"].get("message", {}).get("type") == "result"]


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
