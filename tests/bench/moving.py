"""Large things through the manager, which must not hold them: files in and out, and events onto the bus."""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
import nats
from uuid_utils.compat import uuid7

from tests.bench.processes import memory_mib
from tests.bench.table import Row
from tests.bench.world import World, path_of
from tests.support.stack_client import eventually

_MIB: Final = 1024 * 1024
_FILE_MIB: Final = 1024
_PIECE_BYTES: Final = 256 * 1024
_WORKSPACE_BYTES: Final = 4 * 1024 * _MIB
_MOVING_RUNS: Final = 3
_PROBE_S: Final = 0.1
_WAIT_S: Final = 300

_EVENTS: Final = 10_000
_NOTE: Final = """
with noted as (
    insert into events (session_id, seq, type, at, payload, version)
    select $1, n, 'output.received', now(), jsonb_build_object('from_seq', n, 'to_seq', n), 1
    from generate_series(1, $2::int) as n
    returning session_id, seq
)
insert into outbox (session_id, seq) select session_id, seq from noted order by seq
"""


async def moving(world: World) -> list[Row]:
    """A file of 1 GiB in, and out as an archive, beside a copy on the same disk; the manager's memory meanwhile."""
    put: list[float] = []
    got: list[float] = []
    copied: list[float] = []
    before: list[float] = []
    peak: list[float] = []
    async with world.session(limits={"workspace_bytes": _WORKSPACE_BYTES}) as created:
        async for _ in world.each("files", min(world.runs, _MOVING_RUNS)):
            copied.append(_FILE_MIB / await asyncio.to_thread(_copy_s))
            before.append(memory_mib(world.manager_pid()))
            for rates, move in ((put, _put), (got, _get)):
                seconds, most = await _watched(world, lambda move=move: move(world, path_of(created, "/files/big")))  # type: ignore[misc]
                rates.append(_FILE_MIB / seconds)
                peak.append(most)
    name = f"a file of {_FILE_MIB} MiB"
    return [
        Row(f"{name} in", "MiB/s", put, copied, "a copy on the disk"),
        Row(f"{name} out, as tar.gz", "MiB/s", got, copied, "a copy on the disk"),
        Row("… the manager's memory meanwhile", "MiB", peak, before, "before"),
    ]


async def events(world: World) -> list[Row]:
    """Ten thousand events from the outbox to JetStream, beside publishing alone."""
    passed: list[float] = []
    alone: list[float] = []
    connection = await asyncpg.connect(world.stack.database_url())
    try:
        async for _ in world.each("events"):
            alone.append(_EVENTS / await _publish_s(world))
            session_id: UUID = uuid7()  # of no session: nothing else writes or reads its events
            began = time.perf_counter()
            await connection.execute(_NOTE, session_id, _EVENTS)

            async def drained(session_id: UUID = session_id) -> bool:
                waiting = "select count(*) from outbox where session_id = $1"
                return not await connection.fetchval(waiting, session_id)

            await eventually(drained, seconds=_WAIT_S, what=lambda: "all events are published")
            passed.append(_EVENTS / (time.perf_counter() - began))
            await connection.execute("delete from events where session_id = $1", session_id)
    finally:
        await connection.close()
    return [Row(f"{_EVENTS} events, written → on JetStream", "events/s", passed, alone, "publishing alone")]


async def _publish_s(world: World) -> float:
    """Publish as many messages of that size on a stream of its own, 500 at a time, as the outbox does."""
    client = await nats.connect(world.stack.nats_url())
    stream = client.jetstream()
    try:
        await stream.add_stream(name="BENCH", subjects=["bench.alone"])
        began = time.perf_counter()
        for _ in range(_EVENTS // 500):
            await asyncio.gather(*(stream.publish("bench.alone", b"x" * 400) for _ in range(500)))
        return time.perf_counter() - began
    finally:
        await stream.delete_stream("BENCH")
        await client.close()


async def _watched(world: World, move: Callable[[], Coroutine[Any, Any, None]]) -> tuple[float, float]:
    """Return the seconds of a transfer and the most memory (MiB) that the manager had meanwhile."""
    most = 0.0
    began = time.perf_counter()
    task = asyncio.create_task(move(), name="transfer")
    while not task.done():
        most = max(most, memory_mib(world.manager_pid()))
        await asyncio.wait([task], timeout=_PROBE_S)
    await task
    return time.perf_counter() - began, most


async def _put(world: World, path: str) -> None:
    answer = await world.api.http.put(path, content=_random(), timeout=_WAIT_S)
    answer.raise_for_status()


async def _get(world: World, path: str) -> None:
    parent = path.rpartition("/")[0]
    async with world.api.http.stream("GET", parent, params={"archive": "tar.gz"}, timeout=_WAIT_S) as answer:
        answer.raise_for_status()
        async for _ in answer.aiter_raw(_PIECE_BYTES):
            continue


async def _random() -> AsyncIterator[bytes]:
    piece = os.urandom(_PIECE_BYTES)
    for _ in range(_FILE_MIB * _MIB // _PIECE_BYTES):
        yield piece


def _copy_s() -> float:
    """Write as much to the disk and read it once, as a copy of a file does."""
    folder = Path(tempfile.mkdtemp(prefix="jb"))
    try:
        piece = os.urandom(_PIECE_BYTES)
        began = time.perf_counter()
        with (folder / "copy").open("wb") as file:
            for _ in range(_FILE_MIB * _MIB // _PIECE_BYTES):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return time.perf_counter() - began
    finally:
        shutil.rmtree(folder, ignore_errors=True)
