"""How fast output is, from the runner to whoever follows a session, beside the shortest way there is."""

import asyncio
import json
import time
from typing import Any, Final

import httpx
from websockets.asyncio.client import ClientConnection

from tests.bench.listening import (
    control_relay,
    event_stream,
    listening,
    manager_socket,
    own_socket,
    past_caddy,
    prompting,
    redis_client,
    redis_stream,
    through_caddy,
)
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack_client import Frame, is_result, is_text_delta

_WAIT_S: Final = 30
_BARE: Final = "bench:bare"
_ECHOES: Final = 50
"""In each run, by either way."""


async def first_output(world: World) -> list[Row]:
    """From an input to the agent's first output, beside the model's own first byte."""
    events: list[float] = []
    deltas: list[float] = []
    model: list[float] = []
    async with world.session() as created, prompting(created) as prompter:
        listener = prompter.listener
        await prompter.send("demo> say warm")
        await listener.until(is_result)
        async for number in world.each("first output"):
            model.append(await _model_first_byte_ms(world, f"demo> say {number}"))
            since = len(listener.received)
            sent = await prompter.send(f"demo> say {number}")
            events.append((await listener.until(_is_message, since))[0] - sent)
            deltas.append((await listener.until(is_text_delta, since))[0] - sent)
            await listener.until(is_result, since)
    name = "the model alone, first byte"
    return [
        Row("input → first event of the agent", "ms", [each * 1000 for each in events], model, name),
        Row("input → first word of the answer", "ms", [each * 1000 for each in deltas], model, name),
    ]


MOST_ADDED_MS: Final = {"the session's WebSocket": 0.5}
"""What a way to a reader may add to the runner's own socket; 3 ms where it is not named."""


async def first_byte(world: World) -> list[Row]:
    """From the date of an event in the journal to its arrival, on every way at once."""
    async with world.session() as created:
        sources = {
            "the session's WebSocket": own_socket(created),
            "/stream (SSE)": event_stream(world, created),
            "/stream (WebSocket)": manager_socket(world, created),
            "a Redis consumer (XREAD)": redis_stream(world, created),
            "the runner's control socket": control_relay(world, created),
        }
        samples: dict[str, list[float]] = {name: [] for name in sources}
        async with listening(*sources.values()) as listeners, prompting(created) as prompter:
            async for number in world.each("first byte"):
                since = [len(each.received) for each in listeners]
                await prompter.send(f"demo> say {number}")
                await asyncio.gather(
                    *(each.until(is_result, begin) for each, begin in zip(listeners, since, strict=True))
                )
                for name, each, begin in zip(sources, listeners, since, strict=True):
                    samples[name] += each.delays_ms(begin)
    floor_name = "the runner's control socket"
    floor = samples.pop(floor_name)
    redis_floor = await _bare_redis_ms(world)
    rows = [
        Row(
            f"journaled → {name}",
            "ms",
            delays,
            floor,
            floor_name,
            limit=MOST_ADDED_MS.get(name, 3),
            bounds="difference",
        )
        for name, delays in samples.items()
        if "XREAD" not in name
    ]
    redis_name = "a Redis consumer (XREAD)"
    rows.append(Row(f"journaled → {redis_name}", "ms", samples[redis_name], redis_floor, "XADD → XREAD alone"))
    return rows


async def echo(world: World) -> list[Row]:
    """Ping and pong with the runner, through Caddy and past it, in turn."""
    through: list[float] = []
    past: list[float] = []
    async with world.session() as created, through_caddy(created) as proxied, past_caddy(world, created) as direct:
        async for _ in world.each("echo"):
            for _ in range(_ECHOES):
                through.append(await _ping_ms(proxied))
                past.append(await _ping_ms(direct))
    return [Row("WebSocket echo through Caddy", "ms", through, past, "past Caddy")]


def _is_message(frame: Frame) -> bool:
    return frame.get("kind") == "message"


async def _ping_ms(socket: ClientConnection) -> float:
    began = time.perf_counter()
    await socket.send('{"type":"ping"}')
    while json.loads(await asyncio.wait_for(socket.recv(), 30))["type"] != "pong":
        continue
    return (time.perf_counter() - began) * 1000


async def _model_first_byte_ms(world: World, prompt: str) -> float:
    """Ask the demo model as Claude Code does, without Claude Code."""
    body = {
        "model": "demo",
        "max_tokens": 100,
        "stream": True,
        "tools": [{"name": "Bash", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": prompt}],
    }
    transport = httpx.AsyncHTTPTransport(uds=str(world.stack.run_dir / "demo" / "model.sock"))
    async with httpx.AsyncClient(transport=transport, base_url="http://model", timeout=30) as client:
        began = time.perf_counter()
        async with client.stream("POST", "/v1/messages", json=body) as answer:
            answer.raise_for_status()
            await anext(answer.aiter_raw())
            return (time.perf_counter() - began) * 1000


async def _bare_redis_ms(world: World) -> list[float]:
    """How long an entry takes from one client to another that waits for it, on the same server."""
    key = _BARE
    taken: list[float] = []
    async with redis_client(world) as writer, redis_client(world) as reader:
        try:
            reader_id = await reader.client_id()
            for number in range(1, world.runs * 5 + 1):
                waiting = asyncio.create_task(reader.xread({key: f"{number - 1}-0"}, block=5000), name="bare reader")
                async with asyncio.timeout(_WAIT_S):
                    while not await _waits(writer, reader_id):
                        await asyncio.sleep(0.001)
                began = time.perf_counter()
                await writer.xadd(key, {"t": "x" * 300}, id=f"{number}-0")
                await waiting
                taken.append((time.perf_counter() - began) * 1000)
        finally:
            await writer.delete(key)
    return taken


async def _waits(client: Any, client_id: int) -> bool:
    """Return whether that client is blocked in a call, as the server sees it."""
    return any("b" in each["flags"] for each in await client.client_list(client_id=[str(client_id)]))
