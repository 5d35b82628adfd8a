"""What many sessions cost while nothing happens, and how soon a new manager has them all again."""

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress
from tests.bench.processes import memory_mib, private_mib, resident_mib, runner_and_claude
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack_client import Frame, eventually

_PATIENCE_S: Final = 120.0
_LIVED_S: Final = 5.5
"""A manager that is killed sooner is replaced after a pause, as one that fails again and again."""


def now_ms() -> float:
    """Return a time that only differences have a meaning of."""
    return time.perf_counter() * 1000


async def memory(world: World) -> list[Row]:
    """The manager with no session and with many; each runner, and beside it its Claude Code."""
    await world.delete_sessions()
    alone = memory_mib(world.manager_pid())
    sessions = await world.create_sessions()
    loaded = memory_mib(world.manager_pid())
    own: list[float] = []
    runners: list[float] = []
    claudes: list[float] = []
    shares: list[float] = []
    for created in sessions:
        runner, claude = runner_and_claude(world.container_pid(created["id"]))
        own.append(private_mib(runner))
        runners.append(resident_mib(runner))
        claudes.append(resident_mib(claude))
        shares.append(memory_mib(runner) + memory_mib(claude))
    return [
        Row(f"manager memory, {len(sessions)} sessions", "MiB", [loaded], [alone], "with none"),
        Row("runner, without claude, pages of its own", "MiB", own, limit=40),
        Row("runner, without claude, all pages it maps", "MiB", runners, claudes, "its claude", limit=80),
        Row("runner and claude, shared pages in part", "MiB", shares),
    ]


async def reattach(world: World) -> list[Row]:
    """Kill -9 of the manager, until the next one answers, and until it follows every session's runner."""
    sessions = await world.create_sessions()
    attached: list[float] = []
    up: list[float] = []
    runners = RunnerLink()
    async for _ in world.each("re-attach"):
        await asyncio.sleep(_LIVED_S)
        old = world.manager_pid()
        began = time.perf_counter()
        os.kill(old, signal.SIGKILL)

        async def answers(old: int = old) -> bool:
            return world.stack.pid("manager") not in {None, old} and await world.health() is not None

        async def followed() -> bool:
            return await _followed(world, runners, sessions)

        await eventually(answers, seconds=_PATIENCE_S, what=lambda: "a new manager answers")
        up.append((time.perf_counter() - began) * 1000)
        await eventually(followed, seconds=_PATIENCE_S, what=lambda: "the new manager follows every session")
        attached.append((time.perf_counter() - began) * 1000)
    return [
        Row(f"manager killed → follows {len(sessions)} sessions", "ms", attached, up, "a new manager answers"),
    ]


async def _followed(world: World, runners: RunnerLink, sessions: Sequence[Frame]) -> bool:
    """Ask every runner whether somebody listens: nobody but a manager does here."""
    addresses = [
        ControlAddress(
            f"unix:{world.sockets(each['id'])}/control.sock",
            UUID(each["id"]),
            each["generation"],
            world.secret(each["id"]),
        )
        for each in sessions
    ]
    found = await asyncio.gather(*(runners.health(address) for address in addresses))
    return all(health.subscribers >= 1 for health in found)
