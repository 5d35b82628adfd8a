"""What becomes of a process of Claude Code that does not finish its warm-up."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jelmore_protocol.control import AgentOptions
from jelmore_runner.agents.claude.ahead import Ahead
from jelmore_runner.agents.claude.rehearsal import RehearsalError
from jelmore_runner.settings import Address, Settings
from jelmore_runner.supervisor import Supervisor

NOWHERE = Address.parse("unix:/nowhere")
SETTINGS = Settings(NOWHERE, NOWHERE, NOWHERE, Path("/session"), claude="/claude")


@pytest.fixture(autouse=True)
def _no_administrator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Ahead._warm_up.__globals__, "_MANAGED", ())


class Process:
    """A connection whose client gives a fixed answer, and whose rehearsal has a fixed end."""

    def __init__(self, answer: Callable[[], Awaitable[Any]], failure: Exception | None = None) -> None:
        self.client = self
        self.get_context_usage = answer
        self.launch = SimpleNamespace(options=AgentOptions())
        self.failure = failure
        self.rehearsed = 0
        self.discarded = False

    async def rehearse(self) -> None:
        self.rehearsed += 1
        if self.failure is not None:
            raise self.failure

    def kill(self) -> None:
        """It says nothing more."""

    async def discard(self) -> None:
        self.discarded = True


async def _hangs() -> None:
    await asyncio.Event().wait()


async def _answers() -> None:
    return None


async def _refuses() -> None:
    raise RuntimeError("unknown request")


@pytest.mark.parametrize(("answer", "discarded"), [(_hangs, True), (_refuses, False)])
async def test_a_process_that_might_still_call_is_ended(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[[], Awaitable[Any]], discarded: bool
) -> None:
    monkeypatch.setitem(Ahead._warm_up.__globals__, "WARM_UP_PATIENCE_S", 0.02)
    ahead, process = Ahead(SETTINGS, Supervisor()), Process(answer)
    warming = asyncio.create_task(ahead._warm_up(process), name="warm-up")  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert not process.discarded, "nobody waits for it"
    async with asyncio.timeout(5):
        await ahead.quiet()  # a session waits for its end
        await warming
    assert process.discarded is discarded


async def test_a_process_that_may_have_kept_something_is_ended_and_the_next_rehearses_nothing() -> None:
    ahead = Ahead(SETTINGS, Supervisor())
    processes = [Process(_answers), Process(_answers, RehearsalError("a model has answered")), Process(_answers)]
    for process in processes:
        await ahead._warm_up(process)  # type: ignore[arg-type]
    assert [(each.rehearsed, each.discarded) for each in processes] == [(1, False), (1, True), (0, False)]


async def test_the_end_of_the_runner_does_not_wait_for_what_a_killed_process_would_have_said() -> None:
    ahead, process = Ahead(SETTINGS, Supervisor()), Process(_hangs)
    ahead._connection = process  # type: ignore[assignment]
    ahead._starting = asyncio.create_task(ahead._warm_up(process), name="warm-up")  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    async with asyncio.timeout(5):
        await ahead.end()
    assert process.discarded


async def test_an_administrators_hooks_see_no_rehearsal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Ahead._warm_up.__globals__, "_MANAGED", (tmp_path / "none", tmp_path))
    ahead, process = Ahead(SETTINGS, Supervisor()), Process(_answers)
    await ahead._warm_up(process)  # type: ignore[arg-type]
    assert (process.rehearsed, process.discarded) == (0, False)
