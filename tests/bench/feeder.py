"""Child processes of the throughput benchmark: a real runner whose journal is fed at will, and a relay behind it.

`… runner FOLDER SESSION EVENTS` listens on FOLDER/c.sock, feeds its journal at a line of stdin, ends at the next.
`… relay FOLDER SESSION DATABASE_URL REDIS_URL` follows that runner up to the seq on stdin, ends at the next line.
`… runners FOLDER EVENTS SESSION…` does the same for many runners whose journals are full before it says so.
`… writer FOLDER DATABASE_URL REDIS_URL EVENTS PAUSE_S SESSION…` stores that many events of each session, one after
the other with a pause between; each says when it was `sent`.
`… relays FOLDER DATABASE_URL REDIS_URL SESSION…` follows those from a line of stdin on, up to that seq of each.
Both say on stdout, as JSON lines, what they did and when.

Claude Code could not write ten thousand messages fast enough to measure what comes after it, so here nothing drives
the journal but a loop; everything from the journal on is what a session uses.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.cache import RecordCache
from jelmore.control.publisher import Publisher
from jelmore.control.relay import Relays
from jelmore.control.streams import Streams
from jelmore.control.tasks import Tasks
from jelmore.control.watchers import Watchers
from jelmore.drivers.postgres_leases import PostgresLeases
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.drivers.redis_output import RedisOutput
from jelmore.drivers.redis_records import RedisRecords
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress
from jelmore.session.output import Output
from jelmore_protocol import PROTOCOL
from jelmore_protocol.control import AgentOptions, Init, Stop
from jelmore_protocol.events import EventKind
from jelmore_runner.agents import claude as claude_agent
from jelmore_runner.control_api import create_control_app
from jelmore_runner.journal import Journal
from jelmore_runner.runner import Runner
from jelmore_runner.serving import make_server, stop_server
from jelmore_runner.settings import Address, Settings
from jelmore_runner.sockets import bind
from jelmore_runner.supervisor import Supervisor

_STORED_POLL_S: Final = 0.005
_MANY_POLL_S: Final = 0.05
_END_S: Final = 30


async def run_runner(folder: Path, session_id: str, events: int) -> None:
    """Serve a journal; feed it and end it on request."""
    async with _runner(folder, session_id) as journal:
        await journal.durable(journal.last)
        _say(head=journal.head)
        await _line()
        began, head = time.time(), journal.last + events
        await _feed(journal, events)
        _say(began=began, durable=time.time(), head=head)
        await _line()


async def run_runners(folder: Path, session_ids: Sequence[str], events: int) -> None:
    """Serve many full journals until the next line of stdin."""
    async with AsyncExitStack() as stack:
        heads = []
        for session_id in session_ids:
            (folder / session_id).mkdir()
            journal = await stack.enter_async_context(_runner(folder / session_id, session_id))
            await _feed(journal, events)
            heads.append(journal.head)
        _say(heads=heads)
        await _line()


@asynccontextmanager
async def _runner(folder: Path, session_id: str) -> AsyncIterator[Journal]:
    """A real runner that listens on FOLDER/c.sock, without an agent that speaks."""
    claude = folder / "claude"
    claude.write_text("#!/bin/sh\nexec cat > /dev/null\n")  # never speaks: the agent stays at its start
    claude.chmod(0o755)
    address, nowhere = Address(path=str(folder / "c.sock")), Address(path=str(folder / "nowhere.sock"))
    settings = Settings(address, address, nowhere, folder, claude=str(claude))
    settings.state.mkdir()
    settings.workspace.mkdir()
    supervisor = Supervisor()
    runner = Runner(settings, supervisor, claude_agent.create)
    server = make_server(create_control_app(runner))
    task = supervisor.start("server", server.serve(sockets=[bind(address)]), may_end=True)
    public = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    await runner.begin(
        Init(
            protocol=PROTOCOL,
            session_id=session_id,
            generation=1,
            options=AgentOptions(),
            token_public_key=public.decode(),
            gateway_token="none",
        )
    )
    yield (await runner.opened_conversation()).journal
    runner.stop(Stop(reason="measured", grace_s=0))
    async with asyncio.timeout(_END_S):
        await runner.finished.wait()
    await stop_server(server, task, address)
    await supervisor.end()


async def _feed(journal: Journal, events: int) -> None:
    """Return when that many more events are on disk."""
    body = {"message": {"type": "assistant", "text": "x" * 200}, "input_id": None}
    for _ in range(events):
        await journal.room()
        journal.put((EventKind.MESSAGE, body))
    await journal.durable(journal.last)


async def run_relay(folder: Path, session_id: UUID, database_url: str, redis_url: str) -> None:
    """Follow the runner into PostgreSQL and Redis, as a manager does; report when all of it is stored."""
    async with _relays(database_url, redis_url) as (store, relays, _):
        await relays.attach(await store.load(session_id), ControlAddress(f"unix:{folder}/c.sock", session_id, 1))
        _say(attached=True)
        head = int(await _line())
        while (await store.load(session_id)).output_seq < head:
            await asyncio.sleep(_STORED_POLL_S)
        _say(stored=time.time())
        await _line()


async def run_relays(folder: Path, session_ids: Sequence[UUID], database_url: str, redis_url: str) -> None:
    """Follow many runners up to a seq; report the seconds, and the processor time of this process."""
    async with _relays(database_url, redis_url) as (store, relays, publisher):
        sessions = await store.load_many(session_ids)
        _say(ready=True)
        head = int(await _line())
        began, processor = time.perf_counter(), time.process_time()
        for session in sessions.values():
            await relays.attach(session, ControlAddress(f"unix:{folder}/{session.id}/c.sock", session.id, 1))
        while any(each.output_seq < head for each in (await store.load_many(session_ids)).values()):
            await asyncio.sleep(_MANY_POLL_S)
        while publisher.waiting_bytes():
            await asyncio.sleep(_STORED_POLL_S)
        _say(seconds=time.perf_counter() - began, processor_s=time.process_time() - processor)
        await _line()


async def run_writer(
    database_url: str, redis_url: str, events: int, pause_s: float, session_ids: Sequence[UUID]
) -> None:
    """Store and publish events of sessions that have no runner, as a manager does for other managers' readers."""
    async with _relays(database_url, redis_url) as (store, relays, publisher):
        sessions = [await store.load(each) for each in session_ids]
        _say(ready=True)
        await _line()
        loop = asyncio.get_running_loop()
        due = loop.time()
        for _ in range(events):
            for place, session in enumerate(sessions):
                await asyncio.sleep(max(0.0, due - loop.time()))
                due += pause_s
                sessions[place] = await relays.store(session, [_sent(session.output_seq + 1)])
        while publisher.waiting_bytes():
            await asyncio.sleep(_STORED_POLL_S)
        _say(written=events * len(sessions))


def _sent(seq: int) -> Output:
    at = datetime.now(UTC)
    data = {"message": {"type": "assistant", "text": "x" * 200}, "sent": time.time()}
    frame = {"type": "event", "seq": seq, "kind": "message", "at": at.isoformat(), "data": data}
    return Output(seq, "message", at, json.dumps(frame, separators=(",", ":")))


@asynccontextmanager
async def _relays(database_url: str, redis_url: str) -> AsyncIterator[tuple[PostgresStore, Relays, Publisher]]:
    """The part of a manager between its runners and its stores."""
    store, live, tasks = PostgresStore(database_url), RedisOutput(redis_url, cap=100_000), Tasks()
    records, leases, runners = RedisRecords(redis_url), PostgresLeases(database_url, "bench"), RunnerLink()
    redis = CircuitBreaker("redis", live.answers, tasks)
    cache, streams = RecordCache(store, records, redis), Streams(store, live, redis)
    publisher = Publisher(store, live, cache, Watchers(store, cache), streams, redis, tasks)
    yield store, Relays(store, runners, publisher, tasks, leases, enqueue=lambda _: None), publisher
    await tasks.close()
    for part in (runners, live, records, leases, store):
        await part.close()


async def _line() -> str:
    """Return the next line of stdin; empty at its end."""
    return await asyncio.to_thread(sys.stdin.readline)


def _say(**words: Any) -> None:
    print(json.dumps(words), flush=True)


async def _main(role: str, folder: Path, rest: Sequence[str]) -> None:
    match role:
        case "runner":
            await run_runner(folder, rest[0], int(rest[1]))
        case "relay":
            await run_relay(folder, UUID(rest[0]), *rest[1:])
        case "runners":
            await run_runners(folder, rest[1:], int(rest[0]))
        case "relays":
            await run_relays(folder, [UUID(each) for each in rest[2:]], *rest[:2])
        case "writer":
            database_url, redis_url, events, pause_s, *sessions = rest
            await run_writer(database_url, redis_url, int(events), float(pause_s), [UUID(each) for each in sessions])
        case _:
            raise SystemExit(f"{role!r} is no role")


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:]))
