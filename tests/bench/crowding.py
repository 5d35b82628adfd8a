"""Many sessions at once: all of them created together, and a thousand that sleep beside those that live."""

import asyncio
import time
from typing import Final

from uuid_utils.compat import uuid7

from tests.bench.flowing import insert_sleeping
from tests.bench.processes import memory_mib
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack import docker_lines
from tests.support.stack_client import SESSIONS, eventually

_ASLEEP: Final = 1_000
_READS: Final = 20
_SMALL: Final = {"memory_bytes": 512 * 1024**2}
_MOST_MIB: Final = 150
_MOST_MS: Final = 50


async def burst(world: World) -> list[Row]:
    """So many creates at once, beside the same number one after the other, which a few of them stand for."""
    serial: list[float] = []
    for _ in range(min(world.runs, 5)):
        began = time.perf_counter()
        created = await world.create(limits=_SMALL)
        serial.append((time.perf_counter() - began) * 1000)
        await world.api.delete(created["id"])
    count = world.session_count
    taken: list[float] = []

    async def one() -> str:
        began = time.perf_counter()
        session = await world.create(limits=_SMALL)
        taken.append((time.perf_counter() - began) * 1000)
        return str(session["id"])

    began = time.perf_counter()
    found = await asyncio.gather(*(one() for _ in range(count)), return_exceptions=True)
    whole = (time.perf_counter() - began) * 1000
    ids = {each for each in found if isinstance(each, str)}
    assert len(ids) == count, f"{len(ids)} of {count} were created: {[each for each in found if each not in ids][:3]}"
    await _end_all(world, ids)
    one_by_one = [each * count for each in serial]
    return [
        Row(f"{count} creates at once: each → 201", "ms", taken, serial, "one alone"),
        Row(f"{count} creates at once: the last → 201", "ms", [whole], one_by_one, "one after the other"),
    ]


async def density(world: World) -> list[Row]:
    """A thousand sessions that sleep beside the live ones: the manager's memory, its list and its statistics."""
    alone = memory_mib(world.manager_pid())
    sessions = await world.create_sessions()
    ids = [uuid7() for _ in range(_ASLEEP)]
    try:
        world.progress.report(f"{_ASLEEP} sessions that sleep")
        await insert_sleeping(world, *ids)
        listed = [await _get_ms(world, SESSIONS) for _ in range(_READS)]
        counted = [await _get_ms(world, f"{SESSIONS}/stats") for _ in range(_READS)]
        memory = memory_mib(world.manager_pid())
    finally:
        await _end_all(world, {str(session_id) for session_id in ids})
    name = f"{_ASLEEP} asleep, {len(sessions)} live"
    return [
        Row(f"{name}: memory of the manager", "MiB", [memory], [alone], "with none", limit=_MOST_MIB),
        Row(f"{name}: memory of the manager for each", "KiB", [(memory - alone) * 1024 / (_ASLEEP + len(sessions))]),
        Row(f"{name}: list, first page", "ms", listed, limit=_MOST_MS),
        Row(f"{name}: statistics", "ms", counted, limit=_MOST_MS),
    ]


async def _get_ms(world: World, path: str) -> float:
    began = time.perf_counter()
    (await world.api.http.get(path)).raise_for_status()
    return (time.perf_counter() - began) * 1000


async def _end_all(world: World, ids: set[str]) -> None:
    """End sessions, a few at a time, and wait until no container of them is left."""
    room = asyncio.Semaphore(4)

    async def end(session_id: str) -> None:
        async with room:
            await world.api.delete(session_id)

    await asyncio.gather(*(end(each) for each in ids))
    label = f"label=jelmore.instance={world.stack.instance}"

    async def gone() -> bool:
        names = docker_lines("ps", "--all", "--filter", label, "--format", '{{.Label "jelmore.session"}}')
        return not ids & set(names)

    await eventually(gone, seconds=60, what=lambda: "no container is left over")
