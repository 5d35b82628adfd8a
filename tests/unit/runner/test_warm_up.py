"""What becomes of a process of Claude Code that does not finish its warm-up."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from jelmore_runner.agents.claude.ahead import Ahead
from jelmore_runner.settings import Address, Settings
from jelmore_runner.supervisor import Supervisor

NOWHERE = Address.parse("unix:/nowhere")
SETTINGS = Settings(NOWHERE, NOWHERE, NOWHERE, Path("/session"), claude="/claude")


class Process:
    """A connection whose client gives a fixed answer."""

    def __init__(self, answer: Callable[[], Awaitable[Any]]) -> None:
        self.client = self
        self.get_context_usage = answer
        self.discarded = False

    async def discard(self) -> None:
        self.discarded = True


async def _hangs() -> None:
    await asyncio.Event().wait()


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
