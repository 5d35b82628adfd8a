"""Who waits for the snapshot before a turn: its first tool and the next turn, not the question to the model."""

import asyncio
import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from types import SimpleNamespace
from typing import Any, cast

from jelmore_runner.agents.claude.hooks import Observer
from jelmore_runner.conversation import Conversation
from jelmore_runner.file_changes import FileChangeReporter
from jelmore_runner.settings import Settings
from jelmore_runner.snapshots import HEAD_START_S, LATE_S, SKIPPED, WITHIN_S, Snapshots
from jelmore_runner.workspace_helpers import Helpers


class SlowHelpers:
    """Answers each call once it may."""

    def __init__(self) -> None:
        self.calls = 0
        self.seqs: list[int] = []
        self.due = 0.0
        self.may_answer = asyncio.Event()

    async def answer(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        self.calls += 1
        asked = json.loads(b"".join([piece async for piece in body]))
        self.seqs, self.due = asked["seqs"], asked["due"]
        return self._line()

    async def _line(self) -> AsyncGenerator[bytes]:
        await self.may_answer.wait()
        yield b'{"tree": "t", "in_time": true, "left_out": 0, "overdue": false}\n'


class World:
    def __init__(self) -> None:
        self.helpers = SlowHelpers()
        self.errors: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.session = cast(
            "Conversation",
            SimpleNamespace(
                error=lambda code, _: self.errors.append(code),
                before_tool=None,
                journal=SimpleNamespace(room=lambda: asyncio.sleep(0)),
            ),
        )
        settings = cast("Settings", SimpleNamespace(path="/usr/bin:/bin"))
        self.snapshots = Snapshots(settings, cast("Helpers", self.helpers), self.session, self._start)

    def _start(self, name: str, work: Coroutine[Any, Any, Any], **_: Any) -> "asyncio.Task[Any]":
        self.tasks.append(asyncio.create_task(work, name=name))
        return self.tasks[-1]


async def test_the_turn_begins_at_once_and_its_first_tool_waits() -> None:
    world = World()
    files = cast("FileChangeReporter", SimpleNamespace(workspace="/session/workspace"))
    hook = Observer(world.session, files)
    async with asyncio.timeout(1):
        await world.snapshots.before_turn(1)
    await asyncio.sleep(HEAD_START_S / 2)
    assert world.helpers.calls == 0
    tool = asyncio.create_task(hook({"hook_event_name": "PreToolUse"}, None, None), name="tool")
    after = asyncio.create_task(hook({"hook_event_name": "PostToolUse"}, None, None), name="after")
    await asyncio.wait({tool, after}, timeout=0.2)
    assert (tool.done(), after.done()) == (False, True)
    assert world.helpers.calls == 1
    world.helpers.may_answer.set()
    async with asyncio.timeout(1):
        assert await tool == {}
    assert not world.errors


async def test_a_snapshot_knows_until_when_its_turn_waits() -> None:
    world = World()
    began = time.monotonic()
    await world.snapshots.before_turn(1)
    world.helpers.may_answer.set()
    await world.snapshots.settled()
    assert 0 <= world.helpers.due - began - (HEAD_START_S + WITHIN_S + LATE_S) < 1


async def test_turns_without_tools_in_quick_succession_share_one() -> None:
    world = World()
    async with asyncio.timeout(1):
        await world.snapshots.before_turn(1)
        await world.snapshots.before_turn(4)
    world.helpers.may_answer.set()
    await world.snapshots.settled()
    assert (world.helpers.calls, world.helpers.seqs) == (1, [1, 4])


async def test_the_next_turn_waits_for_the_snapshot_that_a_tool_began() -> None:
    world = World()
    await world.snapshots.before_turn(1)
    await asyncio.sleep(HEAD_START_S * 2)
    following = asyncio.create_task(world.snapshots.before_turn(2), name="turn")
    await asyncio.wait({following}, timeout=0.2)
    assert not following.done()
    world.helpers.may_answer.set()
    await following
    await asyncio.gather(*world.tasks)
    assert world.helpers.calls == 2


async def test_a_slow_snapshot_delays_a_tool_for_a_bounded_time_and_says_so_once() -> None:
    world = World()
    await world.snapshots.before_turn(1)
    await asyncio.sleep(HEAD_START_S * 2)
    assert world.helpers.calls == 1  # nobody waits for it yet
    clock = asyncio.get_running_loop().time
    began = clock()
    await asyncio.gather(world.snapshots.settled(), world.snapshots.settled())
    assert WITHIN_S - HEAD_START_S <= clock() - began < WITHIN_S + LATE_S + 2
    assert world.errors == [SKIPPED]
    began = clock()
    await world.snapshots.before_turn(2)  # has none: the slow one continues
    await world.snapshots.settled()
    assert clock() - began < 1
    assert world.helpers.calls == 1
    for task in world.tasks:
        task.cancel()
    await asyncio.gather(*world.tasks, return_exceptions=True)
