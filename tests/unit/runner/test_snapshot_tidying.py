"""When the snapshots of a session are tidied: lives may be short, and what they keep large."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from jelmore_runner.conversation import Conversation
from jelmore_runner.settings import Settings
from jelmore_runner.snapshots import OVERDUE_EVERY, TIDY_EVERY, Snapshots
from jelmore_runner.workspace_helpers import Helpers


class Answers:
    """Helpers that answer each snapshot alike and count the tidies."""

    def __init__(self, **head: Any) -> None:
        self._head = head
        self.tidies = 0

    async def answer(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        asked = json.loads(b"".join([piece async for piece in body]))
        self.tidies += asked["op"] == "tidy"
        return _pieces(json.dumps({"in_time": True, **self._head}).encode())


async def _pieces(line: bytes) -> AsyncGenerator[bytes]:
    yield line


async def _tidies_of(turns: int, **head: Any) -> int:
    helpers, tasks = Answers(**head), list[asyncio.Task[Any]]()

    def start(name: str, work: Coroutine[Any, Any, Any], **_: Any) -> "asyncio.Task[Any]":
        tasks.append(asyncio.create_task(work, name=name))
        return tasks[-1]

    settings = cast("Settings", SimpleNamespace(path="/usr/bin:/bin"))
    session = cast("Conversation", SimpleNamespace(error=print))
    snapshots = Snapshots(settings, cast("Helpers", helpers), session, start)
    for seq in range(turns):
        await snapshots.before_turn(seq)
        await snapshots.settled()
    await asyncio.gather(*tasks)
    return helpers.tidies


@pytest.mark.parametrize(
    ("turns", "head", "tidies"),
    [
        (TIDY_EVERY - 1, {}, 0),
        (2 * TIDY_EVERY, {}, 2),
        (1, {"overdue": True}, 1),
        (OVERDUE_EVERY, {"overdue": True}, 1),
        (2 * OVERDUE_EVERY + 1, {"overdue": True}, 3),
    ],
)
async def test_snapshots_are_tidied(turns: int, head: dict[str, Any], tidies: int) -> None:
    assert await _tidies_of(turns, **head) == tidies
