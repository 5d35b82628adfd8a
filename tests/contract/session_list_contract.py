"""How sessions are listed, found and counted, fake or real."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from jelmore.ports import ListQuery, Sort, Store
from jelmore.session.metadata_ranges import Comparison, MetadataRange, range_of
from jelmore.session.record import Spec
from jelmore.session.resources import Measurement, Resources, Totals
from jelmore.session.states import Presence, SessionStatus, WaitingFor
from jelmore_protocol.events import EventKind
from tests.support.records import MOMENT, ROOM, created, ended, line, new_id


class SessionListContract:
    """Subclasses give the fixture `store`."""

    async def test_a_list_shows_summaries_and_a_save_keeps_the_whole(self, store: Store) -> None:
        spec = Spec(query="q" * 2000, system_prompt="s" * 5000, mcp_servers={"a": {"url": "u"}}, model="m")
        session = await created(store, spec=spec, metadata={"k": "v"}, pending=({"request_id": "r"},))
        [shown], total = await store.list(ListQuery())
        assert total == 1
        assert shown.spec == replace(spec, query="q" * 500 + "… [cut]", system_prompt=None, mcp_servers={})
        assert (shown.id, shown.metadata, shown.pending) == (session.id, {"k": "v"}, ())
        saved = await store.save(replace(session, title="t"), [])
        assert (await store.load(session.id)).spec == spec
        changed = replace(saved, spec=replace(spec, model="n"), metadata={"k": "w"})
        await store.save(changed, [])
        loaded = await store.load(session.id)
        assert (loaded.spec.model, loaded.metadata) == ("n", {"k": "w"})
        revived = await store.revive(replace(loaded, metadata={}), [], most_live=ROOM)
        assert (await store.load(session.id)) == revived

    async def test_the_list_has_filters_and_pages(self, store: Store) -> None:
        made = [await created(store, metadata={"n": str(n), "team": "a"}) for n in range(5)]
        bobs = await created(store, owner="bob", spec=Spec(user_id="user-2"), status=SessionStatus.ACTIVE)

        async def found(**query: object) -> tuple[list[UUID], int]:
            page, total = await store.list(ListQuery(**query))  # type: ignore[arg-type]
            return [session.id for session in page], total

        newest = [session.id for session in reversed(made)]
        assert await found() == ([bobs.id, *newest], 6)
        put_away = await created(store, owner="carol", archived=True)
        at_hand = await created(store, owner="carol")
        assert await found(owner="carol", archived=True) == ([put_away.id], 1)
        assert await found(owner="carol", archived=False) == ([at_hand.id], 1)
        assert await found(owner="carol") == ([at_hand.id, put_away.id], 2)
        assert await found(limit=2, owner="alice") == (newest[:2], 5)
        assert await found(limit=2, owner="alice", after=newest[1], after_at=MOMENT) == (newest[2:4], 5)
        assert await found(user_id="user-2") == ([bobs.id], 1)
        assert await found(statuses=(SessionStatus.ACTIVE,)) == ([bobs.id], 1)
        both = (SessionStatus.ACTIVE, SessionStatus.INITIALIZING)
        assert set((await found(statuses=both))[0]) == set((await found())[0]), "any of them"
        assert await found(metadata={"team": "a", "n": "3"}) == ([made[3].id], 1)
        assert await found(metadata={"team": "b"}) == ([], 0)
        values: list[Any] = [3, 2.5, True, None, 1]
        typed = [await created(store, metadata={"v": value, "team": "c"}) for value in values]
        for text, session in zip(("3", "2.5", "true", "null", "1"), typed, strict=True):
            assert await found(metadata={"v": text, "team": "c"}) == ([session.id], 1)
        assert await found(metadata={"v": "NaN"}) == ([], 0)
        assert await found(metadata={"\x00": "\ud800"}) == ([], 0)

    async def test_the_list_has_ranges_of_metadata_by_their_types(self, store: Store) -> None:
        values: list[Any] = [
            1, 2.5, 10, "3", True, None, [4], 1e20, "2026-01-31", "2026-02-01T12:00:00+02:00", "2026-02-01 11:00",
            "2026-02-01T10:00:00.5Z", "2026-02-30", "2025-02-29", "2024-02-29", "0000-01-01", "2026-02-01\n", "later",
        ]  # fmt: skip
        ids = {(await created(store, metadata={"v": each})).id: each for each in values}
        await created(store, metadata={"w": 5})

        async def found(*ranges: tuple[str, str]) -> list[Any]:
            bounds = [range_of(f"v[{comparison}]", value) for comparison, value in ranges]
            query = ListQuery(metadata_ranges=tuple(each for each in bounds if each is not None))
            page, total = await store.list(query)
            assert total == len(page)
            return [ids[session.id] for session in reversed(page)]

        assert await found(("gte", "2.5")) == [2.5, 10, 1e20]
        assert await found(("gt", "2.5"), ("lt", "100")) == [10]
        assert await found(("lte", "1"), ("gt", "-3")) == [1]
        assert await found(("gte", "2026-02-01T10:00:00Z")) == values[9:12]
        assert await found(("gt", "2026-02-01T10:00:00Z")) == values[10:12]
        assert await found(("lt", "2026-01-31T00:00:00.001Z")) == ["2026-01-31", "2024-02-29"]
        assert await found(("lte", "2026-01-31"), ("gte", "2026-01-31")) == ["2026-01-31"]
        strange = MetadataRange("\x00\ud800", Comparison.LESS, Decimal(1))
        assert await store.list(ListQuery(metadata_ranges=(strange,))) == ([], 0)

    async def test_the_list_has_tags_pins_times_and_what_is_waited_for(self, store: Store) -> None:
        asks, live = SessionStatus.WAITING_INPUT, [MOMENT + timedelta(days=day) for day in range(3)]
        first = await created(store, created_at=live[0], tags=("red", "blue"))
        second = await created(store, created_at=live[1], tags=("red",), pinned=True)
        third = await created(store, created_at=live[2], status=asks, waiting_for=WaitingFor.PERMISSION)
        paused = await created(store, created_at=live[0], tags=("paused",), presence=Presence.PAUSED)
        over = {"status": SessionStatus.TERMINATED, "ended_at": MOMENT, "presence": Presence.PAUSED}
        await created(store, created_at=live[0] - timedelta(days=1), tags=("paused",), archived=True, **over)
        for query, expected in (
            ({"tags": ("red",)}, [second, first]),
            ({"tags": ("red", "blue")}, [first]),
            ({"tags": ("re",)}, []),
            ({"pinned": True}, [second]),
            ({"presence": Presence.PAUSED}, [paused]),
            ({"pinned": False, "archived": False, "tags": ("paused",)}, [paused]),
            ({"pinned": False, "created_after": live[1]}, [third]),
            ({"waiting_for": WaitingFor.PERMISSION}, [third]),
            ({"waiting_for": WaitingFor.QUESTION}, []),
            ({"created_after": live[1]}, [third, second]),
            ({"created_before": live[1], "tags": ("red",)}, [first]),
            ({"created_after": live[1], "created_before": live[2], "tags": ("red",)}, [second]),
        ):
            page, total = await store.list(ListQuery(**query))
            assert ([one.id for one in page], total) == ([one.id for one in expected], len(expected)), query

    async def test_the_list_has_orders_and_each_has_pages(self, store: Store) -> None:
        times = [MOMENT, MOMENT + timedelta(hours=2), MOMENT, MOMENT + timedelta(hours=1)]
        made = [(await created(store, last_activity_at=at)).id for at in times]
        by_activity = [made[place] for place in (0, 2, 3, 1)]
        for sort, expected in (
            (Sort.OLDEST, made),
            (Sort.NEWEST, made[::-1]),
            (Sort.LONGEST_QUIET, by_activity),
            (Sort.RECENTLY_ACTIVE, by_activity[::-1]),
        ):
            found: list[UUID] = []
            query = ListQuery(limit=1, sort=sort)
            while page := (await store.list(query))[0]:
                found.append(page[0].id)
                at = page[0].last_activity_at if sort.by_activity else page[0].created_at
                query = replace(query, after=page[0].id, after_at=at)
            assert found == expected, sort

    async def test_the_time_of_creation_orders_a_list_and_not_the_age_of_an_id(self, store: Store) -> None:
        early, late = new_id(), new_id()
        await created(store, id=late, created_at=MOMENT)
        await created(store, id=early, created_at=MOMENT + timedelta(seconds=1))
        page, _ = await store.list(ListQuery(limit=1))
        assert [one.id for one in page] == [early]
        page, _ = await store.list(ListQuery(after=page[0].id, after_at=page[0].created_at))
        assert [one.id for one in page] == [late]
        page, _ = await store.list(ListQuery(sort=Sort.OLDEST))
        assert [one.id for one in page] == [late, early]

    async def test_sessions_are_found_by_words_of_title_prompts_and_answers(self, store: Store) -> None:
        titled = await created(store, title="Upgrade the parser")
        asked = await created(store)
        outputs = [
            line(1, {"id": "i", "input": "please fix the failing migration", "by": "k"}, EventKind.INPUT),
            line(2, {"role": "assistant", "thinking": True, "text": "hippopotamus"}, EventKind.SAID),
            line(3, {"role": "assistant", "thinking": False, "text": "The parser is fixed."}, EventKind.SAID),
            line(4, {"tool": "Bash", "input": {"command": "rhinoceros"}}, EventKind.TOOL_USED),
        ]
        asked = await store.save(replace(asked, output_seq=4), [], outputs)
        bobs = await created(store, owner="bob", title="migration of the parser")

        async def found(words: str, **more: object) -> set[UUID]:
            page, total = await store.list(ListQuery(words=words, **more))  # type: ignore[arg-type]
            assert total == len(page)
            return {session.id for session in page}

        assert await found("parser") == {titled.id, asked.id, bobs.id}
        assert await found("PARSER", owner="alice") == {titled.id, asked.id}
        assert await found("migration failing") == {asked.id}
        assert await found("migration upgrade") == set(), "no single message has both words"
        assert await found("hippopotamus") == await found("rhinoceros") == set()
        titled = await store.save(replace(titled, title="Upgrade the lexer"), [])
        assert await found("parser") == {asked.id, bobs.id}
        assert await found("lexer") == {titled.id}
        await store.save(replace(titled, title=None), [])
        assert await found("lexer") == set()

    async def test_statistics_name_every_state(self, store: Store) -> None:
        await created(store)
        await created(store, owner="bob", status=SessionStatus.IDLE)
        everyone, bob = await store.stats(None), await store.stats("bob")
        assert set(everyone) == set(bob) == set(SessionStatus)
        assert (everyone[SessionStatus.INITIALIZING], bob[SessionStatus.INITIALIZING]) == (1, 0)
        assert (everyone[SessionStatus.IDLE], bob[SessionStatus.IDLE]) == (1, 1)

    async def test_totals_are_of_the_live(self, store: Store) -> None:
        assert await store.totals(None) == Totals()
        read = Resources(Measurement(memory_bytes=10, pids=2, workspace_bytes=1 << 40), MOMENT)
        await created(store, resources=read)
        await created(store, resources=read, presence=Presence.HIBERNATED)
        await created(store, owner="bob", resources=read)
        over = await created(store, resources=read)
        await store.save(*ended(over))
        assert await store.totals(None) == Totals(20, 4, 3 << 40)
        assert await store.totals("bob") == Totals(10, 2, 1 << 40)
