"""The setup of a session: what runs once in its workspace, before the agent starts and before the first turn."""

import asyncio
from typing import Any

import pytest

from tests.integration.runner.harness import Client, Runner, eventually

pytestmark = pytest.mark.integration

FIRST = {"id": "first", "input": "demo> say one"}


def setup(run: str | None = None, within_s: float = 30, **more: Any) -> dict[str, Any]:
    order = {"within_s": within_s, **({"run": run} if run is not None else {}), **more}
    return {"setup": order, "requires": ["setup"]}


def of(client: Client, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in client.events if event["kind"] == kind]


def text(client: Client) -> str:
    return "".join(data["text"] for data in of(client, "setup_output"))


async def test_a_setup_runs_as_a_tool_would_before_the_first_turn(runner: Runner) -> None:
    script = "pwd; echo $HOME $APP_NAME; echo problem >&2; sleep 0.5; touch made"
    await runner.begin(**setup(script), first_input=FIRST, options={"env": {"APP_NAME": "shop"}})
    async with runner.open() as client:
        ended = await client.until_event("setup_ended")
        await client.until_result("first")
    assert ended["data"]["outcome"] == "completed"
    assert ended["data"]["exit_code"] == 0
    assert ended["data"]["duration_ms"] >= 500
    session = runner.folder / "session"
    assert (session / "workspace" / "made").is_file()
    assert text(client) == f"{session}/workspace\n{session}/home shop\nproblem\n"
    kinds = [event["kind"] for event in client.events]
    handed = next(
        number
        for number, event in enumerate(client.events)
        if event["kind"] == "state" and event["data"]["input_id"] == "first"
    )
    assert kinds.index("setup_started") < kinds.index("setup_output") < kinds.index("setup_ended") < handed
    assert not of(client, "error")


async def test_a_setup_runs_once_whatever_ends_the_runner(runner: Runner) -> None:
    asked = setup("echo run >> runs")
    await runner.begin(**asked)
    async with runner.open() as client:
        await client.until_event("setup_ended", outcome="completed")
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=2, **asked)
    runner.kill()
    await runner.begin(generation=3, **asked)
    async with runner.open() as client:
        await client.send(type="input", id="two", input="demo> say two")
        await client.until_result("two")
    assert (runner.folder / "session" / "workspace" / "runs").read_text() == "run\n"
    assert len(of(client, "setup_started")) == 1


async def test_a_setup_that_is_cut_off_by_a_crash_is_reported_and_does_not_run_again(runner: Runner) -> None:
    asked = setup("echo run >> runs; sleep 60")
    runs = runner.folder / "session" / "workspace" / "runs"
    await runner.begin(**asked)
    await eventually(runs.exists, "the setup runs")
    runner.kill()
    await runner.begin(generation=2, **asked)
    async with runner.open() as client:
        await client.until_event("setup_ended", outcome="interrupted", cause="restart")
        await client.until_event("error", code="setup_failed")
        await client.send(type="input", id="two", input="demo> say two")
        await client.until_result("two")
    assert runs.read_text() == "run\n"


async def test_a_session_lives_with_a_setup_that_failed_and_says_so(runner: Runner) -> None:
    await runner.begin(**setup("echo no such package; exit 3"), first_input=FIRST)
    async with runner.open() as client:
        await client.until_event("setup_ended", outcome="failed", exit_code=3)
        error = await client.until_event("error", code="setup_failed")
        await client.until_result("first")
    assert "exit code 3" in error["data"]["message"]
    assert text(client) == "no such package\n"


async def test_a_running_setup_shows_as_work_and_may_be_interrupted(runner: Runner) -> None:
    await runner.begin(**setup("echo begun; sleep 60; touch made"), first_input=FIRST)
    async with runner.open() as client:
        await client.until_event("setup_output")
        health = await runner.health()
        assert (health["phase"], health["state"]) == ("ready", "active")
        assert (await runner.call("/quiet", {"on": True})).status_code == 409
        await client.send(type="interrupt", id="stop")
        await client.until_event("setup_ended", outcome="interrupted", cause="interrupted")
        await client.until_result("first")
    assert not (runner.folder / "session" / "workspace" / "made").exists()


async def test_a_stop_ends_a_running_setup(runner: Runner) -> None:
    await runner.begin(**setup("trap '' HUP TERM; echo begun; sleep 60 & wait"))
    async with runner.open() as client:
        await client.until_event("setup_output")
        async with asyncio.timeout(20):
            await runner.stop()
    assert [data["outcome"] for data in _of_journal(runner, "setup_ended")] == ["interrupted"]
    assert runner.terminate() == 0


async def test_a_setup_ends_with_all_that_it_started_at_its_deadline(runner: Runner) -> None:
    await runner.begin(**setup("(sleep 2; touch late) & echo begun; sleep 60", within_s=0.5))
    async with runner.open() as client:
        ended = await client.until_event("setup_ended", outcome="timed_out")
        await client.until_event("error", code="setup_failed")
        await client.send(type="input", id="one", input="demo> say one")
        await client.until_result("one")
    assert ended["data"]["cause"] == "after 0.5 s"
    await asyncio.sleep(2)
    assert not (runner.folder / "session" / "workspace" / "late").exists()


async def test_a_setup_that_prints_without_end_is_bounded_and_its_last_words_are_kept(runner: Runner) -> None:
    await runner.begin(**setup("yes | head -c 3000000; echo; echo the last words; exit 1"))
    async with runner.open() as client:
        ended = (await client.until_event("setup_ended"))["data"]
    assert len(text(client)) == 256 * 1024
    assert ended["text"].endswith("the last words\n")
    assert len(text(client)) + len(ended["text"]) + ended["omitted_bytes"] == 3000000 + len("\nthe last words\n")


async def test_a_file_of_the_workspace_is_the_setup_and_one_that_is_missing_is_skipped(runner: Runner) -> None:
    script = runner.folder / "session" / "workspace" / ".jelmore" / "setup it.sh"
    script.parent.mkdir(parents=True)
    script.write_text("echo from a file in $PWD\n")
    await runner.begin(**setup(file=".jelmore/setup it.sh"))
    async with runner.open() as client:
        await client.until_event("setup_ended", outcome="completed")
    assert text(client) == f"from a file in {runner.folder}/session/workspace\n"


async def test_a_missing_file_is_skipped_without_an_error(runner: Runner) -> None:
    await runner.begin(**setup(file=".jelmore/setup.sh"))
    async with runner.open() as client:
        await client.until_event("setup_ended", outcome="skipped", cause="no_file")
        await client.send(type="input", id="one", input="demo> say one")
        await client.until_result("one")
    assert not of(client, "error")
    assert not of(client, "setup_started")


def _of_journal(runner: Runner, kind: str) -> list[dict[str, Any]]:
    return [event["data"] for event in runner.events() if event["kind"] == kind]
