"""A real agent that fills its workspace, or prints too much."""

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from tests.integration.runner.harness import Runner, eventually

pytestmark = pytest.mark.integration

MIB = 2**20


async def test_growth_is_stopped_and_deleting_opens_the_session_again(runner: Runner) -> None:
    await runner.begin(workspace_limit_bytes=64 * MIB, options={"allowed_tools": ["Bash"]})
    async with runner.open() as client:
        await client.send(type="input", id="fill", input="demo> run dd if=/dev/zero of=big bs=1M count=70; sleep 300")
        error = await client.until_event("error", code="workspace_full")
        assert "of 64 MiB" in error["data"]["message"]
        await client.until_result("fill")  # interrupted: it would have continued to sleep
        health = await runner.health()
        assert health["workspace_limit_bytes"] == 64 * MIB
        assert health["workspace_bytes"] >= 70 * MIB

        await client.send(type="input", id="more", input="demo> run dd if=/dev/zero of=more bs=1M count=20; sleep 300")
        await client.until_result("more")
        await client.send(type="input", id="refused", input="demo> say hello")
        assert (await client.reply("refused"))["code"] == "workspace_full"

        answer = await runner.call("/workspace-limit", {"bytes": 80 * MIB})
        assert answer.status_code == 200
        await client.send(type="input", id="clean", input="demo> run rm big more\ndemo> say gone")
        assert "gone" in (await client.until_result("clean"))["result"]

        async def small() -> bool:
            return bool((await runner.health())["workspace_bytes"] < 40 * MIB)

        await eventually(small, "the deleted files are no longer counted")


async def test_many_small_files_are_stopped_and_deleting_opens_the_session_again(runner: Runner) -> None:
    await runner.begin(workspace_limit_files=2000, options={"allowed_tools": ["Bash"]})
    async with runner.open() as client:
        make = "mkdir many; for i in $(seq 2500); do : > many/$i; done; sleep 300"
        await client.send(type="input", id="fill", input=f"demo> run {make}")
        error = await client.until_event("error", code="workspace_full")
        assert "of 2000 files" in error["data"]["message"]
        await client.until_result("fill")  # interrupted: it would have continued to sleep
        await client.send(type="input", id="refused", input="demo> say hello")
        assert (await client.reply("refused"))["code"] == "workspace_full"
        shutil.rmtree(runner.folder / "session/workspace/many")  # as a person does with a call on files
        for attempt in range(20):  # it measures every 3 s
            await client.send(type="input", id=f"again-{attempt}", input="demo> say hello")
            if (await client.reply(f"again-{attempt}")).get("code") is None:
                break
            await asyncio.sleep(1)
        else:
            pytest.fail("inputs are not taken again")


async def test_a_process_near_its_limit_of_open_files_is_seen(runner: Runner) -> None:
    await runner.begin(workspace_limit_bytes=64 * MIB, options={"allowed_tools": ["Bash"]})
    program = "import time; kept = [open('/dev/null') for _ in range(110)]; open('ready', 'w'); time.sleep(300)"
    async with runner.open() as client:
        await client.send(type="input", id="hold", input=f'demo> run ulimit -n 120; python3 -c "{program}"')
        ready = runner.folder / "session/workspace/ready"
        await eventually(ready.exists, "the files are open")
        assert (await runner.call("/workspace-limit", {"bytes": 65 * MIB})).status_code == 200  # measures at once

        async def seen() -> bool:
            health = await runner.health()
            return bool(health["open_files_limit"] == 120 and health["open_files"] >= 110)

        await eventually(seen, "the process that is nearest to its limit is reported")


async def test_a_writer_that_has_lost_its_parent_is_ended(runner: Runner) -> None:
    await runner.begin(workspace_limit_bytes=32 * MIB, options={"allowed_tools": ["Bash"]})
    workspace = runner.folder / "session/workspace"
    grow = "echo $$ > pid; while :; do head -c 1048576 /dev/zero >> big; sleep 0.1; done"
    async with runner.open() as client:
        script = f"(nohup sh -c '{grow}' > /dev/null 2>&1 &); until test -s pid; do sleep 0.05; done"
        await client.send(type="input", id="leave", input=f"demo> run {script}")
        await client.until_result("leave")
        pid = int((workspace / "pid").read_text())
        await eventually(lambda: not Path(f"/proc/{pid}").exists(), "the writer is ended and reaped", deadline_s=60)
    messages = [event["data"]["message"] for event in runner.events() if event["kind"] == "error"]
    assert any("background processes were ended" in each for each in messages), messages


async def test_limits_of_output_change_while_it_runs(runner: Runner) -> None:
    await runner.begin(output_limits={"total_bytes": 1000, "bytes_per_s": 1000}, options={"allowed_tools": ["Bash"]})
    assert (await runner.health())["output_limits"] == {"total_bytes": 1000, "bytes_per_s": 1000}
    async with runner.open() as client:
        large = "demo> run seq 3000"
        await client.send(type="input", id="cut", input=large)
        await client.until_event("error", code="output_limited")
        await client.until_result("cut")
        for bad in ({"total_bytes": 0, "bytes_per_s": 1}, {"total_bytes": 1}):
            assert (await runner.call("/output-limits", bad)).status_code == 422
        answer = await runner.call("/output-limits", {"total_bytes": 64 * MIB, "bytes_per_s": MIB})
        assert answer.json()["output_limits"] == {"total_bytes": 64 * MIB, "bytes_per_s": MIB}
        await client.send(type="input", id="whole", input=large)
        await client.until_result("whole")
    events = [json.loads(line) for line in runner.journal.read_text().splitlines()]
    ended = [event["data"] for event in events if event["kind"] == "tool_ended"]
    assert ["truncated" in each for each in ended] == [True, False]
