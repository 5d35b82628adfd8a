"""A conversation over several processes of Claude Code: what is kept, what is added up, and what a loss looks like."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.runner.harness import Runner

pytestmark = pytest.mark.integration


def emptied(transcript: Path) -> None:
    transcript.write_text("")


def unreadable(transcript: Path) -> None:
    transcript.chmod(0)


def removed(transcript: Path) -> None:
    transcript.unlink()


def garbage(transcript: Path) -> None:
    transcript.write_text("no JSON\n" * 10)


def folder(transcript: Path) -> None:
    transcript.unlink()
    transcript.mkdir()


def fifo(transcript: Path) -> None:
    transcript.unlink()
    os.mkfifo(transcript)


def link(transcript: Path) -> None:
    transcript.unlink()
    transcript.symlink_to("/dev/zero")


@pytest.mark.parametrize("damage", [emptied, unreadable, removed, garbage, folder, fifo, link])
async def test_a_damaged_transcript_ends_in_a_fresh_conversation_and_an_error(
    runner: Runner, damage: Callable[[Path], None]
) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> say one")
        await client.until_result("one")
    await runner.stop(final=False)
    assert runner.terminate() == 0
    [transcript] = runner.folder.glob(f"session/home/.claude/projects/*/{runner.session_id}.jsonl")
    damage(transcript)
    await runner.begin(generation=2, resume=True)
    async with runner.open() as client:
        await client.until_event("error", code="conversation_lost")
        await client.send(type="input", id="two", input="demo> say two")
        assert "two" in (await client.until_result("two"))["result"]
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=3, resume=True)  # the fresh conversation is resumed in its turn
    async with runner.open() as client:
        await client.send(type="input", id="three", input="demo> say three")
        await client.until_result("three")
    assert [event["data"]["code"] for event in client.events if event["kind"] == "error"] == ["conversation_lost"]


async def test_costs_are_added_up_over_processes_whatever_ends_them(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:

        async def turn(name: str) -> None:
            await client.send(type="input", id=name, input="demo> say word")
            await client.until_event("turn_ended", input_id=name)

        async def end(number: signal.Signals) -> None:
            os.kill((await runner.health())["agent_pid"], number)
            await client.until_event("error", code="agent_died")

        await turn("one")
        await end(signal.SIGKILL)
        await turn("two")
        await end(signal.SIGINT)  # Claude Code obeys, saves its total and exits with 0: a loss all the same
        await turn("three")
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=2, resume=True)
    async with runner.open() as client:
        await turn("four")
    ended = [event["data"] for event in client.events if event["kind"] == "turn_ended"]
    assert [data["input_id"] for data in ended] == ["one", "two", "three", "four"]
    costs = [data["cost_usd"] for data in ended]
    assert max(costs) < 1.5 * min(costs), "each turn costs about the same here"
    assert ended[-1]["total_cost_usd"] == pytest.approx(sum(costs))


async def test_the_next_process_has_only_what_is_left_of_the_budget(runner: Runner) -> None:
    budget = {"max_budget_usd": 0.025}  # a turn costs about 0.01
    await runner.begin(options=budget)
    async with runner.open() as client:
        for name in ("one", "two"):
            await client.send(type="input", id=name, input="demo> say word")
            await client.until_result(name)
        os.kill((await runner.health())["agent_pid"], signal.SIGKILL)
        await client.until_event("error", code="agent_died")
        await client.send(type="input", id="three", input="demo> say word")
        assert (await client.until_result("three"))["subtype"] == "error_max_budget_usd"
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=2, resume=True, options=budget)
    async with runner.open() as client:
        await client.send(type="input", id="four", input="demo> say word")
        result = await client.until_result("four")
        assert result["subtype"] == "error_max_budget_usd"
        assert (await client.until_event("turn_ended", input_id="four"))["data"]["cost_usd"] == 0
    assert (await runner.health())["waiting_for"] == "prompt"


async def test_clear_starts_a_conversation_that_is_resumed_and_costs_add_up(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:

        async def turn(name: str, text: str = "demo> say word") -> None:
            accepted = await runner.call("/input", {"id": name, "input": text, "expand": text.startswith("/")})
            assert accepted.status_code == 200, accepted.text
            await client.until_event("turn_ended", input_id=name)

        await turn("one")
        await turn("clear", "/clear")
        await turn("two")
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=2, resume=True)
    async with runner.open() as client:
        await turn("three")
    ended = {event["data"]["input_id"]: event["data"] for event in client.events if event["kind"] == "turn_ended"}
    assert list(ended) == ["one", "clear", "two", "three"]
    assert ended["clear"]["cost_usd"] == 0
    paid = [ended[name] for name in ("one", "two", "three")]
    costs = [data["cost_usd"] for data in paid]
    assert max(costs) < 1.5 * min(costs), "each turn costs about the same here"
    assert ended["three"]["total_cost_usd"] == pytest.approx(sum(costs))
    for data in paid:
        [usage] = data["models"].values()
        assert usage["cost_usd"] == pytest.approx(data["cost_usd"])
        assert usage["input_tokens"] == data["usage"]["input_tokens"]
        assert usage["output_tokens"] == data["usage"]["output_tokens"]
    [started] = [event["data"] for event in client.events if event["kind"] == "conversation_started"]
    assert started["reason"] == "cleared"
    messages = [event["data"]["message"] for event in client.events if event["kind"] == "message"]
    assert messages[-1]["session_id"] == started["conversation_id"], "the cleared conversation stays cleared"


async def test_inputs_wait_for_a_budget_across_generations(runner: Runner) -> None:
    await runner.begin(requires=["budget"], pause_at_usd=0.005)  # a turn costs about 0.01
    async with runner.open() as client:
        for name in ("one", "two"):
            await client.send(type="input", id=name, input="demo> say word")
        await client.until_event("turn_ended", input_id="one")
        await client.until_event("state", waiting_for="budget")
    health = await runner.health()
    assert (health["state"], health["waiting_for"], health["queued_inputs"]) == ("waiting_input", "budget", 1)
    await runner.stop(final=False)
    assert runner.terminate() == 0
    await runner.begin(generation=2, resume=True, pause_at_usd=0.005)
    assert (await runner.health())["waiting_for"] == "budget"
    raised = await runner.call("/budget", {"pause_at_usd": 0.5})
    assert raised.status_code == 200, raised.text
    async with runner.open() as client:
        await client.until_event("turn_ended", input_id="two")
    refused = await runner.call("/budget", {"pause_at_usd": -1})
    assert refused.status_code == 422


async def test_the_permission_mode_that_the_agent_chose_outlives_its_process(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> tool EnterPlanMode")
        await client.until_event("permission_mode_changed", mode="plan")
        await client.until_result("one")
        os.kill((await runner.health())["agent_pid"], signal.SIGKILL)
        await client.until_event("error", code="agent_died")
        await client.send(type="input", id="two", input='demo> tool ExitPlanMode {"plan": "do it"}')
        asked = await client.until_event("permission_requested", tool="ExitPlanMode")
        await client.send(type="permission", request_id=asked["data"]["request_id"], decision="allow")
        await client.until_event("permission_mode_changed", mode="default")
        await client.until_result("two")


async def test_a_compaction_is_an_event(runner: Runner) -> None:
    await runner.begin()
    async with runner.open() as client:
        await client.send(type="input", id="one", input="demo> say hello")
        await client.until_result("one")
        await client.send(type="input", id="two", input="/compact", expand=True)
        event = await client.until_event("conversation_compacted")
        await client.until_result("two")
    assert event["data"]["trigger"] == "manual"
    assert event["data"]["before_tokens"] is None or event["data"]["before_tokens"] > 0
