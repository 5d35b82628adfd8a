"""How long each fault is felt: kill -9 of one part, until a new input's result arrives, and until all is well."""

import asyncio
import time
from typing import Final
from uuid import uuid4

import httpx

from tests.bench.table import Row
from tests.bench.world import World, path_of
from tests.support.stack import docker
from tests.support.stack_client import Frame, is_result, server_sent

_PATIENCE_S: Final = 120.0
_PAUSE_S: Final = 0.02
_SERVICES: Final = {
    "Valkey": "redis",
    "NATS": "nats",
    "PostgreSQL": "postgres",
    "Caddy": "caddy",
    "the manager": "manager",
}


async def faults(world: World) -> list[Row]:
    """Each part in turn. An undisturbed turn is the floor of the first figure."""
    rows: list[Row] = []
    async with world.session() as created:
        calm = [await _result_ms(world, created, time.perf_counter()) async for _ in world.each("no fault")]
        for name, service in _SERVICES.items():
            rows += await _killed(world, name, created, service, calm)
    results: list[float] = []
    async for _ in world.each("faults: a session's container"):
        async with world.session() as victim:  # a new one each time: restarts in a row are delayed on purpose
            container = world.stack.container(victim["id"])
            began = time.perf_counter()
            await asyncio.to_thread(docker, "kill", "--signal", "KILL", container)
            results.append(await _result_ms(world, victim, began))
    return [*rows, Row("kill -9 of a session's container → a result", "ms", results, calm, "no fault")]


async def _killed(world: World, name: str, created: Frame, service: str, calm: list[float]) -> list[Row]:
    results: list[float] = []
    well: list[float] = []
    async for _ in world.each(f"faults: {name}"):
        began = time.perf_counter()
        world.stack.kill(service)
        async with asyncio.TaskGroup() as group:
            result = group.create_task(_result_ms(world, created, began), name="result")
            healthy = group.create_task(_well_ms(world, began), name="healthy")
        results.append(result.result())
        well.append(healthy.result())
    return [
        Row(f"kill -9 of {name} → a result", "ms", results, calm, "no fault"),
        Row(f"kill -9 of {name} → health ok", "ms", well),
    ]


async def _result_ms(world: World, created: Frame, began: float) -> float:
    """Give an input until it is accepted, follow the stream until its result is there; return when, since `began`."""
    input_id = str(uuid4())
    async with asyncio.timeout(_PATIENCE_S):
        seq = await _accepted(world, created, input_id)
        while not await _followed(world, created, seq - 1, input_id):
            await asyncio.sleep(_PAUSE_S)
    return (time.perf_counter() - began) * 1000


async def _accepted(world: World, created: Frame, input_id: str) -> int:
    body = {"input": "demo> say still here", "id": input_id}
    while True:
        try:
            answer = await world.api.http.post(path_of(created, "/input"), json=body, timeout=10)
            if answer.status_code == 202:
                return int(answer.json()["seq"])
        except (httpx.TransportError, ValueError):
            pass
        await asyncio.sleep(_PAUSE_S)


async def _followed(world: World, created: Frame, after: int, input_id: str) -> bool:
    """Follow the stream once; return whether the result came before it broke."""
    url, timeout = path_of(created, "/stream"), httpx.Timeout(10, read=_PATIENCE_S)
    try:
        async with world.api.http.stream("GET", url, params={"after": after}, timeout=timeout) as answer:
            if answer.status_code != 200:
                return False
            async for _, frame in server_sent(answer.aiter_lines()):
                if is_result(frame) and frame["data"]["input_id"] == input_id:
                    return True
    except httpx.TransportError:
        return False
    return False


async def _well_ms(world: World, began: float) -> float:
    """Return when health is ok after having been something else, or after the part had time to be missed.

    The report is a second old at most, so an early "ok" may be from before the fault: two seconds of it count.
    """
    first_ok: float | None = None
    async with asyncio.timeout(_PATIENCE_S):
        while True:
            report = await world.health()
            now = time.perf_counter()
            if report is None or report["status"] != "ok":
                first_ok = None
            elif first_ok is None:
                first_ok = now
            elif now - first_ok > 2:
                return (first_ok - began) * 1000
            await asyncio.sleep(_PAUSE_S)
