"""How much output goes through, and what it costs to be watched."""

import asyncio
import shutil
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from uuid_utils.compat import uuid7

from jelmore.drivers.postgres_store import PostgresStore
from jelmore.session.record import Session, Spec, Timing
from jelmore.session.states import Presence, SessionStatus
from tests.bench.children import Child, child
from tests.bench.listening import Source, event_stream, listening, own_socket, redis_stream
from tests.bench.processes import processor_s, runner_and_claude
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.stack_client import Frame, is_result

_EVENTS: Final = 10_000
_RELAYED_EVENTS: Final = 100_000
_RELAYED_SESSIONS: Final = 20
_RELAY_RUNS: Final = 5
_FEEDER: Final = "tests.bench.feeder"
_READERS: Final = 10
_MANY_WORDS: Final = "\n".join(["demo> words 400 2", "demo> run true"] * 3)


async def throughput(world: World) -> list[Row]:
    """Ten thousand events from a journal that is fed by a loop, as they come to each place."""
    journal: list[float] = []
    stored: list[float] = []
    redis: list[float] = []
    reader: list[float] = []
    async for _ in world.each("throughput"):
        times = await _flood(world)
        journal.append(_EVENTS / times["journal"])
        stored.append(_EVENTS / times["stored"])
        redis.append(_EVENTS / times["redis"])
        reader.append(_EVENTS / times["reader"])
    name = "the journal"
    return [
        Row(f"{_EVENTS} events: journaled", "events/s", journal),
        Row(f"{_EVENTS} events: in PostgreSQL", "events/s", stored, journal, name),
        Row(f"{_EVENTS} events: at a Redis consumer", "events/s", redis, journal, name),
        Row(f"{_EVENTS} events: at a subscriber of /stream", "events/s", reader, journal, name),
    ]


async def relay(world: World) -> list[Row]:
    """The full journals of twenty runners, into PostgreSQL and Redis: per second, and per second of a processor."""
    passed: list[float] = []
    used: list[float] = []
    async for _ in world.each("relay", min(world.runs, _RELAY_RUNS)):
        seconds, processor_seconds = await _relayed(world)
        passed.append(_RELAYED_EVENTS / seconds)
        used.append(_RELAYED_EVENTS / processor_seconds)
    name = f"{_RELAYED_EVENTS} events of {_RELAYED_SESSIONS} sessions"
    return [
        Row(f"{name}: in PostgreSQL and Redis", "events/s", passed),
        Row(f"{name}, per second of the relay's processor", "events/s", used, limit=20_000, bounds="least"),
    ]


async def _relayed(world: World) -> tuple[float, float]:
    """Return the seconds that a relay needed for all events, and those of its processor."""
    folder = Path(tempfile.mkdtemp(prefix="jb"))
    ids = [uuid7() for _ in range(_RELAYED_SESSIONS)]
    names = [str(each) for each in ids]
    try:
        await insert_sleeping(world, *ids)
        async with child(_FEEDER, "runners", str(folder), str(_RELAYED_EVENTS // len(ids)), *names) as runners:
            head = min((await runners.receive())["heads"])
            stores = (world.stack.database_url(), world.stack.redis_url())
            async with child(_FEEDER, "relays", str(folder), *stores, *names) as relays:
                await relays.receive()
                await relays.send(str(head))
                times = await relays.receive()
                await relays.send("end")
            await runners.send("end")
            return times["seconds"], times["processor_s"]
    finally:
        for name in names:
            await world.api.delete(name)
        shutil.rmtree(folder, ignore_errors=True)


async def readers(world: World) -> list[Row]:
    """Processor time for the same output, with nobody and with ten watching."""
    unwatched: list[float] = []
    watched: list[float] = []
    runner_unwatched: list[float] = []
    runner_watched: list[float] = []
    async for _ in world.each("readers"):
        for count, manager, runner in ((0, unwatched, runner_unwatched), (_READERS, watched, runner_watched)):
            manager_s, runner_s = await _cost(world, count)
            manager.append(manager_s * 1000)
            runner.append(runner_s * 1000)
    name = f"with {_READERS} readers"
    return [
        Row("processor time of the manager, no reader", "ms", unwatched, watched, name, 0, "difference"),
        Row("processor time of the runner, no reader", "ms", runner_unwatched, runner_watched, name, 0, "difference"),
    ]


async def _cost(world: World, count: int) -> tuple[float, float]:
    """Return the processor time of the manager and of the runner for one long turn with that many readers."""
    async with world.session() as created:
        runner, _ = runner_and_claude(world.container_pid(created["id"]))
        half = count // 2
        sources: list[Source] = [*[own_socket(created)] * half, *[event_stream(world, created)] * (count - half)]
        async with listening(*sources) as listeners:
            manager_before, runner_before = processor_s(world.manager_pid()), processor_s(runner)
            await world.api.ask(created["id"], _MANY_WORDS)
            await asyncio.gather(*(listener.until(is_result) for listener in listeners))
            return processor_s(world.manager_pid()) - manager_before, processor_s(runner) - runner_before


async def _flood(world: World) -> dict[str, float]:
    """Return the seconds from the first event on until all had come to each place."""
    folder = Path(tempfile.mkdtemp(prefix="jb"))  # short: it holds a socket
    session_id: UUID = uuid7()
    created: Frame = {"id": str(session_id)}
    try:
        await insert_sleeping(world, session_id)
        async with child(_FEEDER, "runner", str(folder), str(session_id), str(_EVENTS)) as runner:
            head = (await runner.receive())["head"] + _EVENTS  # it listens: a relay that is too early ends
            stores = (world.stack.database_url(), world.stack.redis_url())
            async with child(_FEEDER, "relay", str(folder), str(session_id), *stores) as relay:
                await relay.receive()
                times = await _until_everywhere(world, created, runner, relay, head)
                await relay.send("end")
            await runner.send("end")
            return times
    finally:
        await world.api.delete(str(session_id))
        shutil.rmtree(folder, ignore_errors=True)


async def _until_everywhere(world: World, created: Frame, runner: Child, relay: Child, head: int) -> dict[str, float]:
    async with listening(redis_stream(world, created), event_stream(world, created)) as (redis, reader):
        await relay.send(str(head))
        await runner.send("go")
        fed, stored = await runner.receive(), await relay.receive()
        redis_at, _ = await redis.until(lambda frame: frame.get("seq") == head)
        reader_at, _ = await reader.until(lambda frame: frame.get("seq") == head)
    began = fed["began"]
    return {
        "journal": fed["durable"] - began,
        "stored": stored["stored"] - began,
        "redis": redis_at - began,
        "reader": reader_at - began,
    }


async def insert_sleeping(world: World, *session_ids: UUID) -> None:
    """Record sessions that sleep: the manager serves their streams and leaves them alone otherwise."""
    now = datetime.now(UTC)
    never = Timing(idle_after_s=0, hibernate_after_s=0, timeout_s=0)
    store = PostgresStore(world.stack.database_url())
    try:
        for session_id in session_ids:
            record = Session(
                id=session_id, owner="bench", spec=Spec(timing=never), created_at=now, last_activity_at=now, since=now
            )
            session, _ = await store.create(record, [], most_live=10_000, idempotency=None)
            await store.save(replace(session, status=SessionStatus.IDLE, presence=Presence.HIBERNATED), [])
    finally:
        await store.close()
