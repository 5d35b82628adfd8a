"""What happens beside the sessions: routes that come and go, and the sweep."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import httpx
from uuid_utils.compat import uuid7

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.paths import unix_address
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.redis_output import RedisOutput
from jelmore.session.record import Detail, Session, Spec
from jelmore.session.states import Fact
from jelmore.session.world import Route
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.records import line

_ROUTES: Final = 1_000
_SEEN: Final = 20
_ENDED: Final = 1_000


async def routes(world: World) -> list[Row]:
    """Publish and withdraw, one after another; and until Caddy leads to a route that was published just now."""
    edge = CaddyEdge(
        EdgeOptions(world.paths, world.stack.url, world.stack.url, "", "acme"),
    )
    published: list[float] = []
    withdrawn: list[float] = []
    async with world.session() as created:
        target = unix_address(world.sockets(created["id"]) / "runner.sock")
        ids: list[UUID] = [uuid7() for _ in range(_ROUTES)]
        try:
            for session_id in ids:
                began = time.perf_counter()
                await edge.publish(session_id, target, route=Route.RUNNER)
                published.append((time.perf_counter() - began) * 1000)
        finally:
            for session_id in ids:
                began = time.perf_counter()
                await edge.withdraw(session_id)
                withdrawn.append((time.perf_counter() - began) * 1000)
        seen: list[float] = []
        known: list[float] = []
        for _ in range(_SEEN):
            known.append(await _ask_ms(world.api.http, UUID(created["id"])))
            session_id = uuid7()
            began = time.perf_counter()
            await edge.publish(session_id, target, route=Route.RUNNER)
            try:
                await _ask_ms(world.api.http, session_id)
                seen.append((time.perf_counter() - began) * 1000)
            finally:
                await edge.withdraw(session_id)
    return [
        Row("route publish", "ms", published, limit=2),
        Row("route withdraw", "ms", withdrawn),
        Row("route publish + first request through Caddy", "ms", seen, known, "a request on an old route"),
    ]


async def sweep(world: World) -> list[Row]:
    """A sweep with a thousand ended sessions in PostgreSQL, their hot tails still in Redis, beside one without them."""
    await _sweep_ms(world)  # takes away what ended before
    empty = [await _sweep_ms(world) async for _ in world.each("sweep")]
    store, live = PostgresStore(world.stack.database_url()), RedisOutput(world.stack.redis_url())
    ids: list[UUID] = []
    try:
        for _ in range(_ENDED):
            ids.append(await _ended_session(store, live))
            world.progress.step(f"sweep: {len(ids)}/{_ENDED} rows")
        full = [await _sweep_ms(world) async for _ in world.each("sweep")]
    finally:
        for session_id in ids:
            await store.forget(session_id)
            await live.forget(session_id)
        await live.close()
        await store.close()
    return [Row(f"sweep over {_ENDED} ended sessions", "ms", full, empty, "over none")]


async def _ask_ms(http: httpx.AsyncClient, session_id: UUID) -> float:
    began = time.perf_counter()
    answer = await http.get(f"/s/{session_id}/health")
    answer.raise_for_status()
    return (time.perf_counter() - began) * 1000


async def _sweep_ms(world: World) -> float:
    began = time.perf_counter()
    answer = await world.api.http.post("/api/v1/cleanup")
    answer.raise_for_status()
    return (time.perf_counter() - began) * 1000


async def _ended_session(store: PostgresStore, live: RedisOutput) -> UUID:
    now = datetime.now(UTC)
    record = Session(id=uuid7(), owner="bench", spec=Spec(), created_at=now, last_activity_at=now, since=now)
    session, _ = await store.create(record, [], most_live=10_000, idempotency=None)
    ended, drafts = session.after(Fact.EXITED, now, Detail(reason="measured"))
    output = line(1)
    await store.save(replace(ended, output_seq=1), drafts, [output])
    await live.append(session.id, [output])
    return session.id
