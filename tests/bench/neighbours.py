"""A session's turns while another session takes all that it may of one resource, beside turns without that."""

import asyncio
import time
from typing import Final

from tests.bench.table import Row
from tests.bench.world import World
from tests.support.bombs import BOMBS, LIMITS, command
from tests.support.stack_client import Frame

_BOMB_S: Final = 10.0
_ROUNDS: Final = 3
_TURNS: Final = 6
"""In each round without the bomb, and as many beside it."""

_MOST: Final = 2.0
_FLOOD: Final = "demo> words 10000"


async def neighbours(world: World) -> list[Row]:
    """Each bomb goes off in every round for ten seconds, so that what the machine does otherwise meets both alike."""
    rows = []
    async with world.session(limits={}) as neighbour:
        await _turn_ms(world, neighbour)
        for bomb in (*BOMBS, "output"):
            alone: list[float] = []
            beside: list[float] = []
            async with world.session(allowed_tools=["Bash"], limits=LIMITS) as hostile:
                await world.api.ask(hostile["id"], "demo> say warm")
                async for _ in world.each(f"beside {bomb}", _ROUNDS):
                    alone += [await _turn_ms(world, neighbour) for _ in range(_TURNS)]
                    beside += await _beside(world, neighbour, hostile, bomb)
            rows.append(
                Row(f"a turn beside a bomb: {bomb}", "ms", beside, alone, "without it", limit=_MOST, bounds="ratio")
            )
    return rows


async def _bomb(world: World, hostile: Frame, bomb: str) -> None:
    """Return when the bomb has been at work for its time: in as many turns as fit, where a limit ends one at once."""
    until = time.monotonic() + _BOMB_S
    while (left_s := until - time.monotonic()) > 0:
        await world.api.ask(hostile["id"], _FLOOD if bomb == "output" else f"demo> run {command(bomb, left_s)}")


async def _beside(world: World, neighbour: Frame, hostile: Frame, bomb: str) -> list[float]:
    """Return turns of the neighbour that began while the bomb was at work."""
    began = time.monotonic()
    bombing = asyncio.create_task(_bomb(world, hostile, bomb), name=f"bomb: {bomb}")
    try:
        await asyncio.sleep(2)
        turns: list[float] = []
        while len(turns) < _TURNS and time.monotonic() - began < _BOMB_S and not bombing.done():
            turns.append(await _turn_ms(world, neighbour))
        assert turns, f"the bomb ended at once: {bomb}"
    finally:
        await bombing
    return turns


async def _turn_ms(world: World, session: Frame) -> float:
    began = time.perf_counter()
    await world.api.ask(session["id"], "demo> say hello")
    return (time.perf_counter() - began) * 1000
