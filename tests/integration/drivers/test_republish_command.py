"""The command `republish`: what a consumer lost arrives once more, in order, in batches, from a cursor on."""

import asyncio
import os
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from pydantic import SecretStr

from jelmore import republish_command
from jelmore.__main__ import _parser
from jelmore.control.outbox import OutboxRelay
from jelmore.control.tasks import Tasks
from jelmore.drivers.postgres_erasure import PostgresErasure
from jelmore.drivers.postgres_outbox import PostgresOutbox
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.republish_command import run
from jelmore.session.errors import DependencyError, InvalidRequestError, StaleError
from jelmore.session.events import EventDraft, EventType
from jelmore.settings import Settings
from tests.fakes.memory_events import MemoryEvents
from tests.support.records import created, draft, ended
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest_asyncio.fixture
async def store(database_url: str) -> AsyncIterator[PostgresStore]:
    store = PostgresStore(database_url)
    yield store
    await store.close()


@asynccontextmanager
async def publishing(store: PostgresStore, url: str, bus: MemoryEvents) -> AsyncIterator[None]:
    """Publish what is in the outbox, as a manager does, and wait at the end until it is empty."""
    tasks = Tasks()
    tasks.keep("outbox", OutboxRelay(PostgresOutbox(url, store.wrote), bus).run)
    try:
        yield
        await until(lambda: empty(url))
    finally:
        await tasks.close()


async def empty(url: str) -> bool:
    connection = await asyncpg.connect(url)
    try:
        return bool(await connection.fetchval("select count(*) from outbox") == 0)
    finally:
        await connection.close()


async def republish(url: str, *words: str, patience_s: float = 5) -> tuple[int, list[str]]:
    """Run the command; return how many events it found, and what it printed."""
    said: list[str] = []
    settings = Settings(_env_file=None, database_url=SecretStr(url))
    chosen = _parser().parse_args(["republish", *words])
    return await run(chosen, settings, said.append, patience_s=patience_s), said


def arrived(bus: MemoryEvents, session_id: UUID) -> Sequence[int]:
    return [event.seq for event in bus.published if event.session_id == session_id]


async def test_the_events_of_a_session_arrive_once_more_in_order(store: PostgresStore, database_url: str) -> None:
    bus = MemoryEvents()
    one = await created(store, *(draft(n) for n in range(1, 6)))
    two = await created(store, draft(1))
    async with publishing(store, database_url, bus):
        pass
    first = list(arrived(bus, one.id))
    found, said = await republish(database_url, "--session", str(one.id), "--dry-run")
    assert (found, "would be" in said[-1]) == (len(first), True)
    async with publishing(store, database_url, bus):
        assert (await republish(database_url, "--session", str(one.id)))[0] == len(first)
    assert arrived(bus, one.id) == first * 2
    assert arrived(bus, two.id) == [1]
    assert [event.payload for event in bus.published if event.session_id == one.id][: len(first)] == [
        event.payload for event in bus.published if event.session_id == one.id
    ][len(first) :]


async def test_batches_are_bounded_and_continue_after_a_cursor(
    store: PostgresStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(republish_command, "BATCH", 3)
    monkeypatch.setattr(republish_command, "MOST_WAITING", 2)
    bus = MemoryEvents()
    session = await created(store, *(draft(n) for n in range(1, 9)))
    async with publishing(store, database_url, bus):
        pass
    with pytest.raises(DependencyError, match=rf"3 events wait .* --after {session.id}:3"):
        await republish(database_url, "--session", str(session.id), patience_s=0.5)
    async with publishing(store, database_url, bus):
        found, said = await republish(database_url, "--session", str(session.id), "--after", f"{session.id}:3")
    assert found == 5
    assert f"--after {session.id}:6" in said[0]
    assert arrived(bus, session.id) == [*range(1, 9)] * 2
    with pytest.raises(InvalidRequestError, match="--after"):
        await republish(database_url, "--session", str(session.id), "--after", "here")


async def test_a_time_range_covers_all_sessions_and_the_system(store: PostgresStore, database_url: str) -> None:
    bus = MemoryEvents()
    early, late = await created(store, draft(1)), await created(store, draft(1), draft(2))
    await store.note(EventDraft(EventType.SYSTEM_CLEANUP))
    async with publishing(store, database_url, bus):
        pass
    before = len(bus.published)
    begin = min(event.at for event in bus.published if event.session_id == late.id)
    end = max(event.at for event in bus.published) + timedelta(seconds=1)
    async with publishing(store, database_url, bus):
        found, _ = await republish(database_url, "--since", begin.isoformat(), "--until", end.isoformat())
    again = {event.session_id for event in bus.published[before:]}
    assert (found, early.id in again, late.id in again, UUID(int=0) in again) == (3, False, True, True)
    assert (await republish(database_url, "--since", end.isoformat()))[0] == 0


async def test_what_waits_already_is_not_added_and_prevents_an_erasure(store: PostgresStore, database_url: str) -> None:
    session = await created(store, draft(1))
    assert (await republish(database_url, "--session", str(session.id)))[0] == 0
    bus = MemoryEvents()
    await store.save(*ended(session))
    async with publishing(store, database_url, bus):
        pass
    assert (await republish(database_url, "--session", str(session.id)))[0] > 0
    erasure = PostgresErasure(database_url)
    try:
        with pytest.raises(StaleError, match="not published"):
            await erasure.erase(session.id, "test", {})
        async with publishing(store, database_url, bus):
            pass
        await erasure.erase(session.id, "test", {})
    finally:
        await erasure.close()
    assert (await republish(database_url, "--session", str(session.id)))[0] == 0


@pytest.mark.parametrize("words", [[], ["--since", "2026-01-31T12:00:00"], ["--since", "x"], ["--session", "x"]])
def test_what_is_not_clear_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _parser().parse_args(["republish", *words])
    assert "--session" in capsys.readouterr().err


async def test_the_script_asks_the_database_that_it_is_given(database_url: str) -> None:
    script = Path(__file__).parents[3] / "scripts" / "replay_events"
    words = ("--since", "2026-01-31T12:00:00Z", "--dry-run")
    process = await asyncio.create_subprocess_exec(
        str(script), *words, env={**os.environ, "DATABASE_URL": database_url}, stdout=PIPE, stderr=PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert out.decode() == "0 events would be published again\n"
