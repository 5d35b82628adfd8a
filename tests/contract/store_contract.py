"""What every `Store` does, fake or real."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from jelmore.ports import Idempotency, Probe, Store
from jelmore.session.errors import (
    CapacityError,
    IdempotencyMismatchError,
    InvalidRequestError,
    StaleError,
    UnknownSessionError,
)
from jelmore.session.events import EventDraft, EventType
from jelmore.session.limits import Limits
from jelmore.session.pending_inputs import PendingInput
from jelmore.session.record import Detail, Failure, Session, Spec, Timing, Usage
from jelmore.session.resources import Measurement, Resources
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor, Wanted
from tests.support.records import MOMENT, ROOM, created, draft, ended, line, lines, new_id, new_session


class StoreContract:
    """Subclasses give the fixture `store`."""

    async def test_what_was_created_is_loaded(self, store: Store) -> None:
        session, new = await store.create(new_session(), [draft(1)], most_live=ROOM, idempotency=None)
        assert new
        assert (session.version, session.event_seq) == (1, 1)
        assert await store.load(session.id) == session
        assert await store.load_many([UUID(int=1), session.id]) == {session.id: session}
        assert await store.load_many([]) == {}
        assert await store.count() == 1

    async def test_every_field_survives(self, store: Store) -> None:
        session = await created(store)
        spec = Spec(
            query="q", user_id="u", model="m", permission_mode="plan", allowed_tools=("Bash", "Read"),
            system_prompt="s",
            max_turns=3, max_budget_usd=0.5, mcp_servers={"a": {"url": "http://x"}}, limits=Limits(1 << 30, 2.5, 512),
            timing=Timing(1, 2, 3, 4, 5, hibernate_on_timeout=True),
        )  # fmt: skip
        failure = Failure("running", "broke", 137, oom=True, log_tail=("a", "b"))
        full = replace(
            session, spec=spec, status=SessionStatus.FAILED, wanted=Wanted.ENDED, presence=Presence.PAUSED,
            generation=4, output_seq=9, restarts=2, restarted_at=MOMENT, warned_at=MOMENT, ended_at=MOMENT,
            end_reason="r",
            failure=failure, container_id="c", agent_pid=7, current_directory="/d", title="t",
            pending_inputs=(PendingInput("i", "go\n😀", "k", "at", 7, expand=True, handed_over=True, refusal="no"),),
            pending=({"request_id": "r"},), archived=True, pinned=True, tags=("a", "b c"),
            metadata={"k": ["v", 1, None, {"é": "😀"}]}, usage=Usage(1, 2, 3, 0.25),
            resources=Resources(Measurement(1, 2, 3, 4, 5, 6), MOMENT, {"memory": 90}),
        )  # fmt: skip
        saved = await store.save(full, [])
        assert saved == replace(full, version=2)
        assert await store.load(session.id) == saved
        waiting = await created(store, status=SessionStatus.WAITING_INPUT, waiting_for=WaitingFor.QUESTION)
        assert (await store.load(waiting.id)).waiting_for is WaitingFor.QUESTION

    async def test_an_unknown_session_is_reported_as_such(self, store: Store) -> None:
        with pytest.raises(UnknownSessionError):
            await store.load(new_id())
        with pytest.raises(StaleError):
            await store.save(new_session(version=1), [])

    async def test_a_stale_save_writes_nothing(self, store: Store) -> None:
        old = await created(store)
        newer = await store.save(replace(old, title="newer"), [draft(1)])
        with pytest.raises(StaleError):
            await store.save(replace(old, title="older"), [draft(2)], lines(1, 3))
        with pytest.raises(StaleError):
            await store.revive(replace(old, title="older"), [draft(2)], most_live=ROOM)
        assert await store.load(old.id) == newer
        assert await store.output(old.id, 0, 10) == []
        assert [event.payload["n"] for event in await store.events(old.id, 0, 10)] == [1]

    async def test_of_many_saves_of_one_version_one_wins(self, store: Store) -> None:
        session = await created(store)
        attempts = [store.save(session, [draft(number)]) for number in range(10)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(result, Session) for result in results) == 1
        assert sum(isinstance(result, StaleError) for result in results) == 9
        assert len(await store.events(session.id, 0, 100)) == 1

    async def test_events_are_numbered_without_a_gap(self, store: Store) -> None:
        session = await created(store, draft(1), draft(2))
        session = await store.save(session, [])
        session = await store.save(session, [draft(3), EventDraft(EventType.SESSION_IDLE, {"n": 4}, output_seq=7)])
        events = await store.events(session.id, 0, 10)
        assert [(event.seq, event.payload["n"], event.version) for event in events] == [
            (1, 1, 1), (2, 2, 1), (3, 3, 3), (4, 4, 3),
        ]  # fmt: skip
        assert session.event_seq == 4
        assert [event.output_seq for event in events] == [None, None, None, 7]
        assert [event.seq for event in await store.events(session.id, 1, 2)] == [2, 3]
        assert [event.seq for event in await store.events(session.id, 0, 9, ["session.idle"])] == [4]
        assert all(event.at.tzinfo for event in events)

    async def test_output_is_kept_once_by_its_seq(self, store: Store) -> None:
        session = await created(store)
        session = await store.save(session, [], lines(1, 5))
        await store.save(session, [], [line(5, {"n": "again"}), line(6)])
        kept = await store.output(session.id, 0, 100)
        assert kept == lines(1, 6)
        assert await store.output(session.id, 2, 2) == lines(3, 4)
        assert await store.output(session.id, 0, 9, ["input"]) == []
        assert len(await store.output(session.id, 0, 9, ["message", "input"])) == 6

    async def test_a_page_is_cut_at_its_limit_or_its_bytes_and_says_that_more_follows(self, store: Store) -> None:
        texts = ["ä" * 100, "b" * 100, "c" * 5000, "d" * 100]  # as bytes: 200, 100, 5000, 100, beside what is around
        kept = [line(seq, {"text": text}) for seq, text in enumerate(texts, 1)]
        session = await created(store, *(draft(text=text) for text in texts))
        await store.save(session, [], kept)
        for read in (store.output, store.events):

            async def page(after: int, limit: int, most: int | None, read: Any = read) -> tuple[list[int], bool]:
                found = await read(session.id, after, limit, max_bytes=most)
                return [one.seq for one in found], found.more

            assert await page(0, 9, None) == ([1, 2, 3, 4], False)
            assert await page(0, 4, None) == ([1, 2, 3, 4], True)
            assert await page(0, 9, 1) == ([1], True)
            assert await page(0, 9, 1000) == ([1, 2], True)
            assert await page(2, 9, 1000) == ([3], True)
            assert await page(3, 9, 1000) == ([4], False)
            assert await page(4, 9, 1000) == ([], False)
        pairs = [len(one.text.encode()) for one in kept[:2]]
        assert len(await store.output(session.id, 0, 9, max_bytes=sum(pairs))) == 2
        assert len(await store.output(session.id, 0, 9, max_bytes=sum(pairs) - 1)) == 1

    async def test_slots_are_claimed_one_by_one(self, store: Store) -> None:
        attempts = [store.create(new_session(), [draft()], most_live=3, idempotency=None) for _ in range(20)]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(result, CapacityError) for result in results) == 17
        assert await store.count() == 3

    async def test_hibernated_and_ended_sessions_hold_no_slot(self, store: Store) -> None:
        sleeping_session = await created(store, status=SessionStatus.IDLE)
        sleeping_session = await store.save(replace(sleeping_session, presence=Presence.HIBERNATED), [])
        gone, _ = ended(await created(store))
        gone = await store.save(gone, [])
        only, _ = await store.create(new_session(), [], most_live=1, idempotency=None)
        with_input = replace(sleeping_session, pending_inputs=(PendingInput("i", "go", "k", "at", 0),))
        with pytest.raises(CapacityError):
            await store.revive(replace(with_input, presence=Presence.AWAKE), [draft()], most_live=1)
        assert await store.load(sleeping_session.id) == sleeping_session, "nor is the input kept that wanted it"
        resumed, drafts = gone.after(Fact.RESUMED, MOMENT)
        revived = await store.revive(resumed, drafts, most_live=2)
        assert await store.load(gone.id) == revived
        assert not revived.ended
        # Who holds a slot already needs no other.
        await store.revive(only, [], most_live=2)

    async def test_revivals_at_once_respect_the_limit(self, store: Store) -> None:
        sleeping_session = [
            await created(store, status=SessionStatus.IDLE, presence=Presence.HIBERNATED) for _ in range(6)
        ]
        attempts = [store.revive(replace(one, presence=Presence.AWAKE), [], most_live=2) for one in sleeping_session]
        results = await asyncio.gather(*attempts, return_exceptions=True)
        assert sum(isinstance(result, Session) for result in results) == 2

    async def test_an_idempotency_key_makes_one_session(self, store: Store) -> None:
        key = Idempotency("key", "digest")
        attempts = [store.create(new_session(), [draft()], most_live=1, idempotency=key) for _ in range(5)]
        results = await asyncio.gather(*attempts)
        assert len({session.id for session, _ in results}) == 1
        assert [new for _, new in results].count(True) == 1
        other = Idempotency("key", "other")
        with pytest.raises(IdempotencyMismatchError):
            await store.create(new_session(), [], most_live=ROOM, idempotency=other)
        with pytest.raises(IdempotencyMismatchError):
            await store.replayed(new_session().owner, other)
        first = results[0][0]
        assert await store.replayed(first.owner, key) == await store.load(first.id)
        assert await store.replayed("bob", key) is None
        bobs, new = await store.create(new_session(owner="bob"), [], most_live=ROOM, idempotency=key)
        assert (bobs.owner, new) == ("bob", True)

    async def test_a_refused_create_leaves_its_key_unused(self, store: Store) -> None:
        key = Idempotency("key", "digest")
        with pytest.raises(CapacityError):
            await store.create(new_session(), [], most_live=0, idempotency=key)
        _, new = await store.create(new_session(), [], most_live=1, idempotency=key)
        assert new

    async def test_events_wait_to_be_published(self, store: Store) -> None:
        before = await store.waiting_events()
        session = await created(store)
        await store.save(session, [draft(), draft()])
        assert await store.waiting_events() >= before + 2
        lags = await store.lags()
        assert min(lags.outbox_s, lags.event_log_s, lags.webhooks_s) >= 0

    async def test_unfinished_are_the_live(self, store: Store) -> None:
        live = [await created(store), await created(store, status=SessionStatus.IDLE, presence=Presence.HIBERNATED)]
        await store.save(ended(await created(store, container_id="c"))[0], [])
        assert await store.unfinished() == [session.id for session in live]

    async def test_forgetting_waits_for_the_end_and_the_bus(self, store: Store) -> None:
        session = await created(store)
        with pytest.raises(StaleError):
            await store.forget(session.id)
        over = await store.save(ended(session)[0], [draft()], lines(1, 2))
        with pytest.raises(StaleError):
            await store.forget(over.id)  # its event is not published yet
        assert await store.load(over.id) == over
        await store.forget(new_id())

    async def test_forgetting_leaves_nothing(self, store: Store) -> None:
        key = Idempotency("key", "digest")
        session, _ = await store.create(new_session(), [], most_live=ROOM, idempotency=key)
        await store.probe(session.id, Probe(MOMENT, healthy=True, latency_ms=1))
        over = await store.save(ended(session)[0], [], lines(1, 2))
        await store.forget(over.id)
        await store.forget(over.id)
        assert await store.count() == 0
        assert await store.output(over.id, 0, 10) == []
        assert not await store.probes(over.id)
        _, new = await store.create(new_session(), [], most_live=ROOM, idempotency=key)
        assert new

    async def test_expired_are_those_that_ended_before(self, store: Store) -> None:
        await created(store)
        moments = [MOMENT + timedelta(days=days) for days in (3, 1, 2)]
        over = [await store.save(ended(await created(store), moment)[0], []) for moment in moments]
        assert await store.expired(moments[0]) == [over[1].id, over[2].id]

    async def test_turns_that_run_or_are_about_to_begin_are_found(self, store: Store) -> None:
        waiting = PendingInput("i", "hello", "me", MOMENT.isoformat(), 0)
        kept = [
            await created(store, status=status, presence=presence, pending_inputs=inputs)
            for status, presence, inputs in (
                (SessionStatus.WAITING_INPUT, Presence.AWAKE, ()),
                (SessionStatus.ACTIVE, Presence.AWAKE, ()),
                (SessionStatus.INITIALIZING, Presence.AWAKE, ()),
                (SessionStatus.IDLE, Presence.AWAKE, (waiting,)),
                (SessionStatus.IDLE, Presence.HIBERNATED, (waiting,)),
                (SessionStatus.IDLE, Presence.PAUSED, ()),
            )
        ]
        found, total = await store.under_way(9)
        assert (set(found), total) == ({each.id for each in kept[1:4]}, 3)
        assert [len((await store.under_way(2))[0]), (await store.under_way(2))[1]] == [2, 3]

    async def test_events_of_the_system_are_numbered_too(self, store: Store) -> None:
        await asyncio.gather(*(store.note(EventDraft(EventType.SYSTEM_CLEANUP, {"n": n})) for n in range(5)))
        events = await store.events(UUID(int=0), 0, 10)
        assert [event.seq for event in events] == [1, 2, 3, 4, 5]
        assert {event.type for event in events} == {"system.cleanup"}

    async def test_a_hundred_probes_are_kept(self, store: Store) -> None:
        session = await created(store)
        probes = [
            Probe(MOMENT + timedelta(seconds=n), n % 2 == 0, n / 2, f"m{n}", Measurement(pids=n)) for n in range(103)
        ]
        for probe in probes:
            await store.probe(session.id, probe)
        assert list(await store.probes(session.id)) == probes[:2:-1]
        await store.probe(new_id(), probes[0])

    async def test_what_an_agent_prints_can_always_be_stored(self, store: Store) -> None:
        session = await created(store)
        odd: dict[str, object] = {"a\x00": "x\x00\ud800y", "n": float("nan"), "deep": _nested(300), "pair": "😀"}
        failing = replace(
            session, current_directory="/a\x00b", failure=Failure("running", "\x00", log_tail=("\ud800",))
        )
        failing = replace(failing, pending=({"input": "\x00"},))
        saved = await store.save(failing, [EventDraft(EventType.ERROR_RECEIVED, odd)], [line(1, {"text": "nul \x00"})])
        assert await store.load(session.id) == saved
        assert saved.current_directory == "/a\ufffdb"
        payload = (await store.events(session.id, 0, 1))[0].payload
        assert (payload["a\ufffd"], payload["n"], payload["pair"]) == ("x\ufffd\ufffdy", None, "😀")
        assert (await store.output(session.id, 0, 1))[0].data == {"text": "nul \x00"}
        raw = replace(line(2), text=line(2).text.replace("2}", '"\x00\ud800"}'))
        await store.save(saved, [], [raw])
        assert (await store.output(session.id, 1, 1))[0].text == raw.text.replace("\x00\ud800", "\ufffd\ufffd")

    @pytest.mark.parametrize(
        "changes",
        [
            {"metadata": {"k": "\x00"}},
            {"metadata": {"k": ["\ud800"]}},
            {"metadata": {"\x00": 1}},
            {"title": "\x00"},
            {"spec": Spec(query="a\x00b")},
            {"spec": Spec(user_id="\ud800")},
        ],
    )
    async def test_what_a_caller_sends_is_not_altered_but_refused(
        self, store: Store, changes: dict[str, object]
    ) -> None:
        with pytest.raises(InvalidRequestError):
            await created(store, **changes)
        assert await store.count() == 0

    async def test_a_wake_up_is_not_lost_to_a_plain_save(self, store: Store) -> None:
        session = await created(store, status=SessionStatus.WAITING_INPUT)
        moved, drafts = session.after(Fact.STARTED_WORKING, MOMENT, Detail(output_seq=1))
        saved = await store.save(moved, drafts)
        assert (await store.load(session.id)).status is SessionStatus.ACTIVE
        assert [event.type for event in await store.events(session.id, 0, 9)] == ["session.state_changed"]
        assert saved.version == 2


def _nested(depth: int) -> object:
    value: object = "bottom"
    for _ in range(depth):
        value = [value]
    return value
