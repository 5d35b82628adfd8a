"""What every `Outbox` does, fake or real."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import replace

import pytest

from jelmore.ports import HeldOutbox, Outbox, Store
from jelmore.session.errors import StaleError
from jelmore.session.events import EventDraft, EventType
from tests.support.records import created, draft, ended
from tests.support.waiting import until


@asynccontextmanager
async def held(outbox: Outbox) -> AsyncIterator[HeldOutbox]:
    """Hold the outbox for the block."""
    async with aclosing(outbox.hold()) as holding:
        yield await anext(holding)


class OutboxContract:
    """Subclasses give the fixtures `store` and `another`, which makes outboxes of that store."""

    async def test_events_leave_in_order_and_once(self, store: Store, another: Callable[[], Outbox]) -> None:
        session = await created(store, draft(1), draft(2))
        await store.save(session, [draft(3)])
        await store.note(EventDraft(EventType.SYSTEM_CLEANUP))
        async with held(another()) as outbox:
            first = await outbox.take(2)
            assert [event.seq for event in first] == [1, 2]
            assert first == await store.events(session.id, 0, 2)
            assert await outbox.take(2) == first  # not done yet
            await outbox.done(first)
            await outbox.done(first)
            rest = await outbox.take(10)
            assert (rest[0].session_id, rest[0].seq) == (session.id, 3)
            assert len(rest) == 2
            await outbox.done(rest)
            assert not await outbox.take(10)

    async def test_no_more_is_taken_than_so_many_bytes(self, store: Store, another: Callable[[], Outbox]) -> None:
        session = await created(store, draft(1), draft(2, text="x" * 10_000), draft(3, text="x" * 400))
        await store.save(session, [draft(4, text="x" * 400), draft(5, text="x" * 400)])
        taken: list[list[int]] = []
        async with held(another()) as outbox:
            while events := await outbox.take(2, max_bytes=1000):
                taken.append([event.seq for event in events])
                await outbox.done(events)
        assert taken == [[1], [2], [3, 4], [5]]

    async def test_many_writers_keep_each_session_in_order(self, store: Store, another: Callable[[], Outbox]) -> None:
        sessions = [await created(store) for _ in range(5)]

        async def write(number: int) -> None:
            session_id, saved = sessions[number % 5].id, False
            while not saved:
                with suppress(StaleError):
                    await store.save(await store.load(session_id), [draft(number), draft(number)])
                    saved = True

        taken: dict[object, list[int]] = {}
        async with held(another()) as outbox:
            writers = asyncio.gather(*(write(number) for number in range(50)))

            async def all_taken() -> bool:
                events = await outbox.take(7)
                for event in events:
                    taken.setdefault(event.session_id, []).append(event.seq)
                await outbox.done(events)
                return writers.done() and not events

            await until(all_taken, seconds=30)
            await writers
        assert list(taken.values()) == [list(range(1, 21))] * 5

    async def test_two_holders_exclude_each_other(self, store: Store, another: Callable[[], Outbox]) -> None:
        entered = asyncio.Event()

        async def wait_for_it() -> None:
            async with held(another()):
                entered.set()

        async with held(another()) as outbox:
            second = asyncio.create_task(wait_for_it(), name="second-holder")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(entered.wait()), 0.2)
            assert not await outbox.take(1)
        await asyncio.wait_for(second, 5)

    async def test_all_is_published_again_in_order(self, store: Store, another: Callable[[], Outbox]) -> None:
        one, two = await created(store, draft(1)), await created(store, draft(1))
        async with held(another()) as outbox:
            await outbox.done(await outbox.take(10))
            one = await store.save(one, [draft(2), draft(3)])
            await outbox.done((await outbox.take(10))[:1])  # the other one waits in the outbox
            [first] = await outbox.kept("s", 1)
            await outbox.kept_until("s", first)
            await store.save(one, [draft(4)])  # a writer does not wait for a refill
            await store.note(draft(5))
        async with held(another()) as outbox:
            rest = await outbox.kept("s", 10)
            assert [(event.session_id, event.seq) for event in (first, *rest)] == [
                (one.id, 1), (one.id, 2), (two.id, 1),
            ]  # fmt: skip
            assert [event.seq for event in await outbox.kept("s", 10, max_bytes=1)] == [2]
            await outbox.kept_until("s", rest[-1])
            assert await outbox.kept("s", 10) == []
            assert len(await outbox.kept("another", 10)) == 3, "a stream that was lost once more gets all of it"
            assert [event.seq for event in await outbox.take(10) if event.session_id == one.id] == [3, 4]

    async def test_a_new_event_ends_the_wait(self, store: Store, another: Callable[[], Outbox]) -> None:
        session = await created(store)
        async with held(another()) as outbox:
            assert not await outbox.take(1)
            await outbox.wait(0.01)
            waiting = asyncio.create_task(outbox.wait(30), name="wait")
            await store.save(session, [draft()])
            await asyncio.wait_for(waiting, 0.9)  # sooner than the look that others' events wait for
            assert len(await outbox.take(1)) == 1

    async def test_what_is_published_may_be_forgotten(self, store: Store, another: Callable[[], Outbox]) -> None:
        session = await created(store)
        over = await store.save(replace(ended(session)[0]), [draft()])
        async with held(another()) as outbox:
            await outbox.done(await outbox.take(10))
            await store.forget(over.id)
            assert await outbox.kept("s", 10) == []
