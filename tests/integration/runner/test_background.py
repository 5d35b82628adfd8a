"""Work that continues after a turn: background tasks, processes that a tool left, and orphans."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.integration.runner.harness import Runner, eventually

pytestmark = pytest.mark.integration


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
