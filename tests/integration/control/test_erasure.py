"""An erased session is gone from every real store: each row, key and message is searched for it."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg
import nats
import pytest
import pytest_asyncio
import redis.asyncio

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.erasure import Eraser
from jelmore.control.outbox import OutboxRelay
from jelmore.control.ports import Ports
from jelmore.control.requests import Caller
from jelmore.control.tasks import Tasks
from jelmore.drivers.nats_events import STREAM, NatsEvents
from jelmore.drivers.postgres_erasure import PostgresErasure
from jelmore.drivers.postgres_event_log import PostgresEventLog
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.redis_output import RedisOutput
from jelmore.drivers.redis_records import RedisRecords
from jelmore.drivers.system_clock import SystemClock
from jelmore.ports import ApiKey, Idempotency, Probe, Role, SandboxSpec
from jelmore.session.errors import ConflictError, StaleError, UnknownSessionError
from jelmore.session.limits import Limits
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore_protocol.events import EventKind
from tests.fakes.edge import FakeEdge
from tests.fakes.runners import FakeRunners
from tests.fakes.sandboxes import FakeSandboxes
from tests.support.records import MOMENT, draft, ended, line, new_session
from tests.support.waiting import until

pytestmark = pytest.mark.integration

SECRET: Final = "hippopotamus"
ALICE: Final = Caller(ApiKey("alice", "alice", Role.CLIENT, MOMENT))
BOB: Final = Caller(ApiKey("bob", "bob", Role.CLIENT, MOMENT))


class Stores:
    """The real stores, and an engine in memory."""

    def __init__(self, database_url: str, redis_url: str, nats_url: str) -> None:
        self.urls = (database_url, redis_url, nats_url)
        self.tasks = Tasks()
        self.store = PostgresStore(database_url)
        self.live, self.records = RedisOutput(redis_url), RedisRecords(redis_url)
        self.bus = NatsEvents(nats_url, instance="test")
        self.engine, self.edge = FakeSandboxes(), FakeEdge()
        self.log = PostgresEventLog(database_url)
        self.cache = RecordCache(self.store, self.records, CircuitBreaker("redis", self.live.answers, self.tasks))
        self.outbox = OutboxRelay(PostgresOutbox(database_url, self.store.wrote), self.bus)
        ports = Ports(self.store, self.engine, FakeRunners(), self.edge, self.live, SystemClock())
        self.erasures = PostgresErasure(database_url, self.store.wrote)
        self.eraser = Eraser(ports, self.erasures, self.bus, self.cache, self._end)

    async def _end(self, _: Caller, session_id: UUID) -> Session:
        return await self.store.save(*ended(await self.store.load(session_id)))

    async def session(self, text: str = SECRET) -> Session:
        """Return a session of which every store holds something with this text."""
        made, key = new_session(title=text, metadata={"a": text}), Idempotency(text, "d")
        session, _ = await self.store.create(made, [draft(1, text=text)], most_live=99, idempotency=key)
        outputs: list[Output] = [
            line(1, {"id": "i", "input": text, "by": "alice"}, EventKind.INPUT),
            line(2, {"text": text, "thinking": False}, EventKind.SAID),
        ]
        session = await self.store.save(session, [draft(2, text=text)], outputs)
        await self.store.probe(session.id, Probe(MOMENT, healthy=True, latency_ms=1.0))
        await self.live.append(session.id, outputs)
        await self.cache.saved(session)
        spec = SandboxSpec(session.id, 1, Limits())
        await self.engine.start(spec)
        await self.log.number()
        return session

    async def published(self, count: int) -> None:
        """Return when the stream holds so many events."""
        await until(lambda: self._holds(count))

    async def _holds(self, count: int) -> bool:
        return len(await messages(self.urls[2])) >= count

    async def traces(self, words: tuple[str, ...]) -> dict[str, list[str]]:
        """Return where each store still has one of the words."""
        found: dict[str, list[str]] = {}
        connection = await asyncpg.connect(self.urls[0])
        tables = await connection.fetch("select relname from pg_stat_user_tables order by 1")
        for (table,) in tables:
            rows = await connection.fetch(f'select each::text from "{table}" as each')
            found[f"table {table}"] = [row[0] for row in rows if any(word in row[0] for word in words)]
        await connection.close()
        client: Any = redis.asyncio.Redis.from_url(self.urls[1])
        keys = [key.decode() async for key in client.scan_iter()]
        found["redis"] = [key for key in keys if any(word in key for word in words)]
        await client.aclose()
        messages_left = [json.dumps(message) for message in await messages(self.urls[2])]
        found["jetstream"] = [text for text in messages_left if any(word in text for word in words)]
        return {name: texts for name, texts in found.items() if texts}

    async def close(self) -> None:
        await self.tasks.close()
        for part in (self.store, self.live, self.records, self.bus, self.log, self.erasures):
            await part.close()


async def messages(nats_url: str) -> list[dict[str, Any]]:
    """Return everything that the stream holds."""
    client = await nats.connect(nats_url)
    jetstream = client.jetstream()
    state = (await jetstream.stream_info(STREAM)).state
    found = []
    for seq in range(state.first_seq, state.last_seq + 1):
        try:
            found.append(json.loads((await jetstream.get_msg(STREAM, seq)).data or b""))
        except nats.js.errors.NotFoundError:
            continue  # purged
    await client.close()
    return found


@pytest_asyncio.fixture
async def stores(database_url: str, redis_url: str, nats_url: str) -> AsyncIterator[Stores]:
    made = Stores(database_url, redis_url, nats_url)
    await made.bus.connect()
    await made.bus.filled()
    made.tasks.keep("outbox", made.outbox.run)
    yield made
    await made.close()


async def test_nothing_of_an_erased_session_is_left_in_any_store(stores: Stores) -> None:
    other, session = await stores.session("rhinoceros"), await stores.session()
    words = (str(session.id), SECRET)
    await stores.published(4)
    before = await stores.traces(words)
    assert {"table sessions", "table output", "table events", "table search_text", "table probes"} <= before.keys()
    assert {"table idempotency_keys", "table event_log", "redis", "jetstream"} <= before.keys()
    proof = await stores.eraser.erase(ALICE, session.id, end=True)
    assert set(proof.remaining.values()) == {0}
    assert proof.found.items() >= {"workspace": 1, "redis": 1, "jetstream": 4, "output": 2, "search_text": 3}.items()
    left = await stores.traces(words)
    assert left.keys() <= {"table erasures", "table events", "table outbox", "jetstream"}
    assert not any(SECRET in text for texts in left.values() for text in texts), "the proof has no content"
    [messages_left] = left["table events"]
    assert "system.session_erased" in messages_left
    assert (stores.engine.volumes, stores.engine.sandboxes.get(session.id) or None) == (
        {other.id: stores.engine.volumes[other.id]},
        None,
    )
    assert (await stores.store.load(other.id)).title == "rhinoceros"
    assert await stores.eraser.erase(ALICE, session.id, end=False) == proof, "a repeat answers with the proof"
    with pytest.raises(UnknownSessionError):
        await stores.eraser.erase(BOB, session.id, end=True)


async def test_a_live_session_and_unpublished_events_prevent_an_erasure(stores: Stores) -> None:
    session = await stores.session()
    with pytest.raises(ConflictError, match="has not ended"):
        await stores.eraser.erase(ALICE, session.id, end=False)
    with pytest.raises(StaleError, match="is live"):
        await stores.erasures.erase(session.id, "alice", {})
    await stores.tasks.stop("outbox")
    await stores.store.save(*ended(await stores.store.load(session.id)))
    with pytest.raises(StaleError, match="not published"):
        await stores.erasures.erase(session.id, "alice", {})
    waiting = asyncio.create_task(stores.eraser.erase(ALICE, session.id, end=False), name="erase")
    await until(lambda: not stores.engine.volumes)
    assert (await stores.store.load(session.id)).ended, "the record is there until the events are published"
    stores.tasks.keep("outbox", stores.outbox.run)
    assert (await waiting).found["events"] > 0
