"""What runs with every batch of output stays cheap at 100,000 sessions, whatever their specs hold."""

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from jelmore.drivers import sql
from jelmore.drivers.postgres_list import page_query, texts_found, total_query
from jelmore.drivers.postgres_rows import output_values, session_values
from jelmore.drivers.postgres_store import PostgresStore
from jelmore.ports import ListQuery, Sort
from jelmore.ports.store import MAX_COUNTED
from jelmore.session.record import Spec
from jelmore.session.states import Presence, SessionStatus, WaitingFor
from tests.support.records import created, ended, line, lines
from tests.support.waiting import until

pytestmark = pytest.mark.integration

NIL = UUID(int=0)

_MANY = """
insert into sessions (
    id, owner, status, wanted, presence, version, generation, event_seq, output_seq, restarts, created_at,
    last_activity_at, since, ended_at, container_id, archived, metadata, spec, usage
)
select gen_random_uuid(), 'owner-' || n % 100, 'terminated', 'ended', 'awake', 1, 1, 0, 0, 0, now(), now(), now(),
    now(), 'kept by an older manager', false, '{}', '{"query": "hello"}', '{}'
from generate_series(1, 100000) as n
"""


type Connection = "asyncpg.Connection[asyncpg.Record]"


async def scans(connection: Connection, query: str, *values: object) -> set[str]:
    """Return how a query reads the tables of sessions and of their words: names of indexes, and `Seq Scan`."""
    rows = await connection.fetch(f"explain (format json) {query}", *values)
    nodes: list[dict[str, Any]] = [json.loads(rows[0][0])[0]["Plan"]]
    found = set()
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Index Name" in node and node["Index Name"].startswith(("sessions", "search_text")):
            found.add(node["Index Name"])
        elif node["Node Type"] == "Seq Scan" and node["Relation Name"] in {"sessions", "search_text"}:
            found.add("Seq Scan")
    return found


async def rows_of_scans(connection: Connection, query: str, *values: object) -> int:
    """Run a query and return how many rows its sequential scans of sessions and of their words read."""
    rows = await connection.fetch(f"explain (analyze, format json) {query}", *values)
    nodes: list[dict[str, Any]] = [json.loads(rows[0][0])[0]["Plan"]]
    found = 0
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if node["Node Type"] == "Seq Scan" and node["Relation Name"] in {"sessions", "search_text"}:
            each = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            found += each * node["Actual Loops"]
    return found


async def test_hot_statements_use_an_index_at_many_sessions(database_url: str) -> None:
    store, connection = PostgresStore(database_url), await asyncpg.connect(database_url)
    try:
        await connection.execute(_MANY)
        session = await created(store)
        await connection.execute("analyze sessions")
        queries = sql.queries("sessions")
        written = {**session_values(session, []), **output_values(lines(1, 2)), "started_stage": None}
        save, values = sql.bind(queries["save"], written)
        page, page_values = page_query(ListQuery(owner="owner-1", archived=False, limit=10))
        total, total_values = total_query(ListQuery(metadata={"n": "3"}))
        load, load_values = sql.bind(queries["load"], {"id": session.id})
        totals, totals_values = sql.bind(queries["totals"], {"owner": None})
        for query, given, index in (
            (save, values, "sessions_pkey"),
            (load, load_values, "sessions_pkey"),
            (queries["unfinished"], (), "sessions_live"),
            (queries["count_slots"], (), "sessions_live"),
            (totals, totals_values, "sessions_live"),
            (page, page_values, "sessions_by_owner"),
            (total, total_values, "sessions_by_metadata"),
        ):
            assert await scans(connection, query, *given) == {index}
        sizes = "select pg_relation_size('sessions_live') as live, pg_relation_size('sessions_pkey') as all"
        found = await connection.fetchrow(sizes)
        assert found
        assert found["live"] <= 16 * 1024 < found["all"], "ended sessions are not in it"
        assert list(await store.unfinished()) == [session.id]
    finally:
        await connection.close()
        await store.close()


_MANY_OUTPUTS = """
insert into output (session_id, seq, kind, at, text)
select $1, n, case when n % 1000 = 1 then 'input' else 'said' end, now(),
    '{"data": {"id": "input-' || n || '", "text": "' || repeat('words ', 40) || '"}}'
from generate_series(1, 100000) as n
"""


async def test_the_inputs_of_a_session_are_found_without_reading_its_output(database_url: str) -> None:
    store, connection = PostgresStore(database_url), await asyncpg.connect(database_url)
    try:
        await connection.execute(_MANY_OUTPUTS, NIL)
        await connection.execute("analyze output")
        page = {"session_id": NIL, "limit": 100, "max_bytes": None}
        query, values = sql.bind(sql.queries("history")["inputs"], {**page, "after": 0})
        await connection.execute("set plan_cache_mode = force_generic_plan")  # as after some calls of a connection
        asked = await connection.prepare(query)
        assert len(await asked.fetch(*values)) == 100
        rows = await connection.fetch(f"explain (analyze, buffers, format json) {query}", *values)
        text = rows[0][0]
        assert "output_inputs" in text
        assert "Rows Removed by Filter" not in text
        assert [each.seq for each in await store.output(NIL, 98_001, 5, ("input",))] == [99_001]
        assert [each.seq for each in await store.output(NIL, 98_001, 1, ("input", "said"))] == [98_002]
    finally:
        await connection.close()
        await store.close()


_MANY_PEOPLE = """
insert into participants (session_id, id, name, role) select $1, 'person-' || n, 'a name', 'viewer'
from generate_series(1, 30000) as n
"""


async def test_who_has_left_is_found_without_reading_all_people(database_url: str) -> None:
    """Each manager asks each second."""
    store, connection = PostgresStore(database_url), await asyncpg.connect(database_url)
    try:
        session = await created(store)
        await connection.execute(_MANY_PEOPLE, session.id)
        await connection.execute("analyze participants")
        moment = datetime.now(UTC) - timedelta(minutes=1)
        await connection.execute("update participants set expires_at = now() where id = 'person-7'")
        query, values = sql.bind(sql.queries("keys")["revoked_keys"], {"since": moment})
        plan = await connection.fetch(f"explain (format text) {query}", *values)
        assert not any("Seq Scan on participants" in row[0] for row in plan), plan
        assert await store.revoked_keys(moment) == ["person-7"]
    finally:
        await connection.close()
        await store.close()


_MANY_WORDS = """
insert into search_text (session_id, seq, words)
select id, 1, to_tsvector('english', 'common words of session number' || place || repeat(' even', (place % 2)::int))
from (select id, row_number() over () as place from sessions) as numbered
"""


async def test_lists_use_an_index_at_many_sessions_whatever_is_asked(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_MANY)
        await connection.execute(_MANY_WORDS)
        await connection.execute("update sessions set tags = array['tag-' || left(id::text, 2)], created_at = now()")
        await connection.execute("update sessions set created_at = now() - interval '1 day' where random() < 0.999")
        await connection.execute("update sessions set pinned = true where random() < 0.001")
        await connection.execute("vacuum analyze sessions, search_text")
        recently = datetime.now(UTC) - timedelta(hours=1)
        for asked, indexes in (
            (ListQuery(), {"sessions_by_creation"}),
            (ListQuery(sort=Sort.OLDEST), {"sessions_by_creation"}),
            (ListQuery(sort=Sort.RECENTLY_ACTIVE), {"sessions_by_activity"}),
            (ListQuery(sort=Sort.LONGEST_QUIET, after=NIL, after_at=recently), {"sessions_by_activity"}),
            (ListQuery(tags=("tag-00",)), {"sessions_by_tag"}),
            (ListQuery(pinned=True), {"sessions_pinned"}),
            (ListQuery(created_after=recently), {"sessions_by_creation"}),
            (ListQuery(waiting_for=WaitingFor.PERMISSION), {"sessions_live"}),
            (ListQuery(statuses=(SessionStatus.ACTIVE, SessionStatus.IDLE), sort=Sort.OLDEST), {"sessions_live"}),
            (ListQuery(presence=Presence.PAUSED, sort=Sort.LONGEST_QUIET, limit=1000), {"sessions_live"}),
            (ListQuery(words="number777"), {"search_text_by_words", "sessions_pkey"}),
            (ListQuery(words="number777 even", sort=Sort.RECENTLY_ACTIVE), {"search_text_by_words", "sessions_pkey"}),
            (ListQuery(words="common"), {"search_text_pkey", "sessions_by_creation"}),
            (ListQuery(words="even", owner="owner-1"), {"search_text_pkey", "sessions_by_owner"}),
        ):
            found = await texts_found(connection, asked.words) if asked.words else 0
            query, values = page_query(asked, found=found)
            assert await scans(connection, query, *values) == indexes, asked
            query, values = total_query(asked, found=found)
            counted = await connection.fetchval(query, *values)
            assert counted == (MAX_COUNTED if asked.words in {"common", "even"} and not asked.owner else counted)
            if asked.words:  # Where most sessions match, a scan that stops after the most counted is as good.
                assert await rows_of_scans(connection, query, *values) <= 4 * MAX_COUNTED, asked
    finally:
        await connection.close()


_NAMED_APART = """
insert into search_text (session_id, seq, words)
select id, 1, to_tsvector('english', 'common words of session number' || place)
from (select id, row_number() over () as place from sessions) as numbered
"""


async def test_lists_are_counted_and_rare_words_found_by_an_index(database_url: str) -> None:
    """Where every text has a word of its own, PostgreSQL takes 1 in 200 for a word that it does not know."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(_MANY)
        await connection.execute(_NAMED_APART)
        await connection.execute("update sessions set created_at = now() - random() * interval '30 days'")
        await connection.execute("vacuum analyze sessions, search_text")
        for asked, index in (
            (ListQuery(archived=False), "sessions_by_creation"),
            (ListQuery(owner="owner-1", archived=False), "sessions_by_owner"),
        ):
            query, values = total_query(asked)
            assert await scans(connection, query, *values) == {index}, "no row is read to count them"
        for asked in (ListQuery(words="number777"), ListQuery(words="number777 -number778", archived=False)):
            found = await texts_found(connection, str(asked.words))
            query, values = page_query(asked, found=found)
            assert (found, len(await connection.fetch(query, *values))) == (1, 1)
            assert await scans(connection, query, *values) == {"search_text_by_words", "sessions_pkey"}, asked
    finally:
        await connection.close()


async def test_a_list_evaluates_only_the_filters_that_are_set() -> None:
    """Metadata is large: a condition on it that is always true took 80 of the 90 ms of counting 100,000 sessions."""
    for query in (page_query(ListQuery())[0], total_query(ListQuery(archived=False))[0]):
        assert not any(word in query.partition("where")[2] for word in ("metadata @>", "owner =", "tags @>", "@@"))


async def test_a_batch_does_not_write_a_large_spec_again(database_url: str) -> None:
    store, connection = PostgresStore(database_url), await asyncpg.connect(database_url)
    large = "select pg_total_relation_size(reltoastrelid) from pg_class where relname = 'sessions'"
    try:
        session = await created(
            store, spec=Spec(system_prompt=secrets.token_hex(500_000)), metadata={"a": secrets.token_hex(4000)}
        )
        before = await connection.fetchval(large)
        for number in range(20):
            session = await store.save(replace(session, title=str(number)), [], [line(number + 1)])
        session = await store.load(session.id)
        await store.save(replace(session, title="last"), [], [line(21)])
        assert await connection.fetchval(large) == before
    finally:
        await connection.close()
        await store.close()


async def test_a_list_is_bounded_in_bytes_and_has_more_pages(database_url: str) -> None:
    store = PostgresStore(database_url)
    try:
        for _ in range(8):
            await created(store, metadata={"a": secrets.token_hex(250_000)})
        first, total = await store.list(ListQuery(limit=100))
        assert (total, len(first), first.more) == (8, 4, True)
        rest, _ = await store.list(ListQuery(limit=100, after=first[-1].id, after_at=first[-1].created_at))
        assert (len(rest), rest.more) == (4, False)
    finally:
        await store.close()


async def test_an_end_leaves_no_container_behind(database_url: str) -> None:
    store = PostgresStore(database_url)
    try:
        session = await created(store, container_id="c", agent_pid=7)
        over = await store.save(ended(session)[0], [])
        assert (over.container_id, over.agent_pid) == (None, None)
    finally:
        await store.close()


async def test_sessions_that_print_much_leave_room_for_the_others(database_url: str) -> None:
    store, connection = PostgresStore(database_url, connections=4), await asyncpg.connect(database_url)
    blocked = "select count(*) from pg_stat_activity where wait_event_type = 'Lock'"
    try:
        sessions = [await created(store) for _ in range(8)]
        async with connection.transaction():
            await connection.execute("lock table output in exclusive mode")
            large = [line(1, {"text": "x" * 500_000})]
            saves = [asyncio.create_task(store.save(session, [], large), name="save") for session in sessions]
            await until(lambda: _at_least(connection, blocked, 2))
            assert await asyncio.wait_for(store.load(sessions[0].id), 2) == sessions[0]
        assert {saved.version for saved in await asyncio.gather(*saves)} == {2}
    finally:
        await connection.close()
        await store.close()


async def _at_least(connection: Connection, query: str, count: int) -> bool:
    # A transaction keeps its first view of pg_stat_activity.
    await connection.execute("select pg_stat_clear_snapshot()")
    return bool(await connection.fetchval(query) >= count)
