"""Where the time of a create goes, from its own trace: a quick start that sends its spans to a receiver here."""

import asyncio
import secrets
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack_client import SESSIONS, Api, eventually
from tests.support.stack_quickstart import QuickStart
from tests.support.trace_receiver import ReceivedSpan, Receiver, trace_receiver

_PARTS: Final = (
    "check engine and disk",
    "store session",
    "look",
    "register sandbox",
    "start container",
    "runner /init",
    "attach",
    "record readied",
)
"""The spans that follow one another, in this order. Looks of several passes count together."""

_BODY: Final[Mapping[str, Any]] = {"timeout_minutes": 0, "idle_after_s": 0}
_COLD: Final[Mapping[str, Any]] = {"limits": {"memory_bytes": 3 * 1024**3}}


async def cold_path(world: World) -> list[Row]:
    """A create that starts a container."""
    return await _rows(world, "cold create", {**_BODY, **_COLD})


async def warm_path(world: World) -> list[Row]:
    """A create that gets a member of the warm pool, whose agent is connected."""
    return await _rows(world, "warm create", _BODY)


async def _rows(world: World, name: str, body: Mapping[str, Any]) -> list[Row]:
    with trace_receiver() as receiver:
        async with _traced(receiver) as traced:
            traces: dict[str, float] = {}
            async for _ in world.each(name):
                await traced.pool_filled()
                trace_id, began = secrets.token_hex(16), time.perf_counter()
                headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
                answer = await traced.api.http.post(SESSIONS, json=body, headers=headers)
                answer.raise_for_status()
                traces[trace_id] = (time.perf_counter() - began) * 1000
                await traced.api.delete(answer.json()["id"])
            await _arrived(receiver, traces)
    parts: dict[str, list[float]] = defaultdict(list)
    for trace_id, whole_ms in traces.items():
        found = {part: _ms(receiver.named(part, trace_id)) for part in _PARTS}
        for part, milliseconds in found.items():
            parts[part].append(milliseconds)
        parts["the rest: the API, the queue, waiting for the runner"].append(whole_ms - sum(found.values()))
    rows = [Row(f"… {part}", "ms", samples) for part, samples in parts.items() if any(samples)]
    return [Row(f"{name}, traced", "ms", list(traces.values())), *rows]


def _ms(spans: list[ReceivedSpan]) -> float:
    return sum(each.ended_ns - each.began_ns for each in spans) / 1e6


async def _arrived(receiver: Receiver, traces: Mapping[str, float]) -> None:
    async def there() -> bool:
        return all(receiver.named("POST create_session", each) for each in traces)

    await eventually(there, seconds=30, what=lambda: "the spans arrive")


@asynccontextmanager
async def _traced(receiver: Receiver) -> AsyncIterator[World]:
    settings = {"JELMORE_LOG_LEVEL": "warning", "JELMORE_POOL_SIZE": "1", "JELMORE_MAX_SESSIONS": "4"}
    stack = QuickStart(own_model=True, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url, **settings)
    try:
        await asyncio.to_thread(stack.start)
        api = Api(stack)
        try:
            yield World(stack, api, None, 0, 0)  # type: ignore[arg-type]  # nothing here asks the engine
        finally:
            await api.http.aclose()
    finally:
        try:
            await asyncio.to_thread(stack.stop)
        finally:
            await asyncio.to_thread(stack.discard)
