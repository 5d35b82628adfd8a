"""Calls of the API with many sessions in the database: how long each takes, and how many a second there are."""

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any, Final

import asyncpg

from tests.bench.table import Row
from tests.bench.world import World, path_of
from tests.support.stack_client import SESSIONS

_LISTED: Final = 10_000
_SEARCHED: Final = 100_000
_CALLS: Final = 100
"""In each run; their p99 is one sample."""

_AT_ONCE: Final = 8
_OWNER: Final = "bench"
_PAGE_MS: Final = 20
_STATS_MS: Final = 50

_INSERT: Final = """
insert into sessions (
    id, owner, status, wanted, presence, version, generation, event_seq, output_seq, restarts, created_at,
    last_activity_at, since, ended_at, archived, metadata, spec, usage
)
select gen_random_uuid(), $1, 'terminated', 'ended', 'awake', 1, 1, 0, 0, 0, at, at, at, at, false,
    jsonb_build_object('number', n), '{"query": "hello"}', '{}'
from (select n, now() - n * interval '1 second' as at from generate_series($2::int, $3::int) as n) as numbered
"""
_INSERT_WORDS: Final = """
insert into search_text (session_id, seq, words)
select id, 1, to_tsvector('english', 'common words of session number' || (metadata ->> 'number'))
from sessions
where owner = $1 and metadata ? 'number' and not exists (select from search_text where session_id = sessions.id)
"""
_REMOVE: Final = (
    "delete from search_text using sessions where session_id = id and owner = $1",
    "delete from sessions where owner = $1",
)


async def calling(world: World) -> list[Row]:
    """Reads and inputs, beside a request that reaches no store; with 10,000 sessions stored, then with 100,000."""
    connection = await asyncpg.connect(world.stack.database_url())
    try:
        async with world.session() as created:
            await _fill(connection, 1, _LISTED)
            reads = {
                "get a session": (path_of(created, ""), {}),
                f"list of {_LISTED} sessions, first page": (SESSIONS, {"limit": 50}),
                f"statistics of {_LISTED} sessions": (f"{SESSIONS}/stats", {}),
            }
            rows = await _read(world, reads)
            await _fill(connection, _LISTED + 1, _SEARCHED)
            searches = {
                f"search of {_SEARCHED} sessions, a rare word": (SESSIONS, {"q": "number777", "limit": 50}),
                f"search of {_SEARCHED} sessions, a word of all": (SESSIONS, {"q": "common", "limit": 50}),
            }
            rows += await _read(world, searches)
            rows += await _inputs(world)
        return rows
    finally:
        for statement in _REMOVE:
            await connection.execute(statement, _OWNER)
        await connection.close()


async def _fill(connection: "asyncpg.Connection[Any]", first: int, last: int) -> None:
    await connection.execute(_INSERT, _OWNER, first, last)
    await connection.execute(_INSERT_WORDS, _OWNER)
    await connection.execute("vacuum analyze sessions, search_text")


async def _read(world: World, calls: dict[str, tuple[str, dict[str, Any]]]) -> list[Row]:
    """Measure each call, in turn with the bare request: every p99, and requests per second with some at once."""
    floor: list[float] = []
    slowest: dict[str, list[float]] = {name: [] for name in calls}
    rates: dict[str, list[float]] = {name: [] for name in calls}
    bare_rates: list[float] = []
    async for _ in world.each("calls"):
        floor.append(_p99([await _get_ms(world, "/livez", {}) for _ in range(_CALLS)]))
        bare_rates.append(await _rate(world, "/livez", {}))
        for name, (path, query) in calls.items():
            slowest[name].append(_p99([await _get_ms(world, path, query) for _ in range(_CALLS)]))
            rates[name].append(await _rate(world, path, query))
    limits = {name: _PAGE_MS if name.startswith("list") else _STATS_MS for name in calls if "search" not in name}
    rows = [
        Row(f"{name}: p99", "ms", slowest[name], floor, "a request without a store", limit=limits.get(name))
        for name in calls
    ]
    return rows + [
        Row(f"{name}, {_AT_ONCE} at once", "calls/s", rates[name], bare_rates, "a request without a store")
        for name in calls
    ]


async def _inputs(world: World) -> list[Row]:
    """An input until it is accepted, which the runner has journaled by then; each in a session that is idle."""
    taken: list[float] = []
    async with world.session() as created:
        async for number in world.each("inputs"):
            began = time.perf_counter()
            answer = await world.api.post(created["id"], "/input", {"input": f"demo> say {number}"})
            taken.append((time.perf_counter() - began) * 1000)
            answer.raise_for_status()
            await world.api.until(created["id"], waiting_for="prompt")
    return [Row("input → 202", "ms", taken)]


async def _get_ms(world: World, path: str, query: dict[str, Any]) -> float:
    began = time.perf_counter()
    (await world.api.http.get(path, params=query)).raise_for_status()
    return (time.perf_counter() - began) * 1000


async def _rate(world: World, path: str, query: dict[str, Any]) -> float:
    """Return the calls per second of some clients that each wait for their answer."""

    async def one() -> None:
        for _ in range(_CALLS // _AT_ONCE):
            (await world.api.http.get(path, params=query)).raise_for_status()

    began = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(_AT_ONCE):
            group.create_task(one(), name=f"caller {number}")
    return (_CALLS // _AT_ONCE) * _AT_ONCE / (time.perf_counter() - began)


def _p99(samples: Sequence[float]) -> float:
    return sorted(samples)[math.ceil(0.99 * len(samples)) - 1]
