"""`jelmore run` where nobody watches: a setup that failed is reported on standard error, and by the exit code."""

import asyncio
import json
from pathlib import Path

import pytest

from jelmore_client import Event
from jelmore_client.cli.setup_failure import failure_of
from jelmore_protocol.events import EventKind
from tests.integration.api.conftest import api  # noqa: F401 - a fixture
from tests.integration.api.world import World
from tests.integration.client.test_client import connect, end_turn, next_input
from tests.integration.client.test_repositories import jelmore

# ruff: noqa: F811 - a fixture of another file is a parameter here

pytestmark = pytest.mark.integration


async def ran(api: World, folder: Path, outcome: str, exit_code: int | None, *more: str) -> tuple[int, str, str]:
    """Run a prompt in a session whose setup ends so; return exit code, standard output and standard error."""
    asked = jelmore(api, folder, "run", "--setup", "make deps", "hello", *more)
    running = asyncio.create_task(asked, name="running")
    session_id = ""
    async with connect(api) as client, asyncio.timeout(60):
        while not session_id:
            session_id = next(iter([each.id async for each in client.sessions.list()]), "")
            await asyncio.sleep(0.05)
    runner = await api.runner(session_id)
    await runner.say(EventKind.SETUP_STARTED, {"run": "make deps", "file": None, "within_s": 600})
    await runner.say(EventKind.SETUP_OUTPUT, {"text": "no rule\x1b[2J to make\n"})
    ended = {"outcome": outcome, "exit_code": exit_code, "text": "", "omitted_bytes": 0}
    await runner.say(EventKind.SETUP_ENDED, ended)
    await end_turn(api, session_id, await next_input(api, session_id), "done")
    return await running


async def test_a_failed_setup_is_reported_and_the_answer_is_printed(api: World, tmp_path: Path) -> None:
    code, out, error = await ran(api, tmp_path, "failed", 3)
    assert (code, out) == (6, "done\n"), error
    assert "  no rule[2J to make\nthe setup failed: failed, exit code 3; 'jelmore logs " in error


async def test_with_json_standard_output_stays_one_value(api: World, tmp_path: Path) -> None:
    code, out, error = await ran(api, tmp_path, "timed_out", None, "--json")
    assert (code, json.loads(out)["text"]) == (6, "done"), error
    assert "the setup failed: timed_out; " in error


async def test_a_setup_that_ended_well_is_not_mentioned(api: World, tmp_path: Path) -> None:
    code, out, error = await ran(api, tmp_path, "completed", 0)
    assert (code, out, "setup" in error) == (0, "done\n", False), error


def output(kind: str, **data: object) -> Event:
    return Event.model_validate({"seq": 1, "kind": kind, "at": "2026-01-31T12:00:00.000Z", "data": data})


def test_the_last_setup_counts() -> None:
    printed = "".join(map("{}\n".format, range(99)))
    failed = [output("setup_started"), output("setup_ended", outcome="failed", exit_code=1, text=printed)]
    said = failure_of("0" * 36, failed)
    assert said is not None
    assert said.split("\n")[0] == "  89", "the last ten lines"
    again = [output("setup_started"), output("setup_ended", outcome="completed")]
    assert failure_of("0" * 36, [*failed, *again]) is None
    assert failure_of("0" * 36, failed[:1]) is None
    assert failure_of("0" * 36, []) is None
