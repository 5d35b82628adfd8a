"""Many people watch: how late they see what was written, and what they cost the manager."""

import asyncio
from typing import Final
from urllib.parse import urlsplit

from uuid_utils.compat import uuid7

from tests.bench.children import child
from tests.bench.flowing import insert_sleeping
from tests.bench.processes import memory_mib, processor_s
from tests.bench.table import Row
from tests.bench.world import World

_SESSIONS: Final = 100
_EACH: Final = 10
_EVENTS_OF_EACH: Final = 10
_PAUSE_S: Final = 0.01

_CROWD: Final = 200
_CROWD_EVENTS: Final = 100
_CROWD_PAUSE_S: Final = 0.1
_LARGEST_LAG_MS: Final = 100
_MOST_MIB: Final = 150
_SETTLE_S: Final = 2.0
_WATCHING_RUNS: Final = 3


async def watching(world: World) -> list[Row]:
    """A thousand streams over a hundred sessions, and two hundred of one; beside them one stream of each."""
    few: list[float] = []
    many: list[float] = []
    crowd: list[float] = []
    largest: list[float] = []
    before: list[float] = []
    during: list[float] = []
    cost: list[float] = []
    async for _ in world.each("watching", min(world.runs, _WATCHING_RUNS)):
        before.append(memory_mib(world.manager_pid()))
        few += (await _watched(world, _SESSIONS, 1, _EVENTS_OF_EACH, _PAUSE_S))[0]
        lags, memory, _ = await _watched(world, _SESSIONS, _EACH, _EVENTS_OF_EACH, _PAUSE_S)
        many += lags
        largest.append(max(lags))
        during.append(memory)
        lags, _, processor = await _watched(world, 1, _CROWD, _CROWD_EVENTS, _CROWD_PAUSE_S)
        crowd += lags
        cost.append(processor / len(lags) * 1e6)
    every = f"{_SESSIONS * _EACH} watchers of {_SESSIONS} sessions"
    return [
        Row(f"{every}: written → read", "ms", many, few, "one watcher of each"),
        Row(f"{every}: the latest of all", "ms", largest, limit=_LARGEST_LAG_MS),
        Row(f"{every}: memory of the manager", "MiB", during, before, "with none", limit=_MOST_MIB),
        Row(f"{_CROWD} watchers of one session: written → read", "ms", crowd, few, "one watcher of each"),
        Row("processor time of the manager, each event to each of them", "µs", cost),
    ]


async def _watched(
    world: World, sessions: int, each: int, events: int, pause_s: float
) -> tuple[list[float], float, float]:
    """Write events while they are watched; return all lags, the manager's memory (MiB) and its processor time (s)."""
    ids = [uuid7() for _ in range(sessions)]
    names = [str(session_id) for session_id in ids]
    at = urlsplit(world.stack.url)
    stores = (world.stack.database_url(), world.stack.redis_url())
    try:
        await insert_sleeping(world, *ids)
        watcher = (str(at.hostname), str(at.port), world.stack.api_key, str(each), *names)
        writer = ("writer", ".", *stores, str(events), str(pause_s), *names)
        async with child("tests.bench.watcher", *watcher) as audience, child("tests.bench.feeder", *writer) as author:
            assert (await audience.receive())["ready"] == sessions * each
            await author.receive()
            began = processor_s(world.manager_pid())
            await author.send("go")
            written: int = (await author.receive())["written"]
            await asyncio.sleep(_SETTLE_S)
            used, memory = processor_s(world.manager_pid()) - began, memory_mib(world.manager_pid())
            await audience.send("end")
            lags: list[float] = (await audience.receive())["lags"]
    finally:
        for name in names:
            await world.api.delete(name)
    assert len(lags) == written * each, f"{len(lags)} of {written * each} events were read"
    return lags, memory, used
