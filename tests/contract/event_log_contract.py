"""What every `EventLog` and `TicketStore` does, fake or real."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

from jelmore.ports import Store
from jelmore.ports.event_log import EventFilter, EventLog
from jelmore.ports.tickets import TakenTicket, TicketStore
from jelmore.session.errors import StaleError
from jelmore.session.record import Spec
from tests.support.records import created, draft, ended
from tests.support.waiting import until

ALL = EventFilter()
LARGE = 2**30


class EventLogContract:
    """Subclasses give the fixtures `store`, `log` (of that store) and `another`, which makes more logs of it."""

    async def test_every_event_gets_the_next_position(self, store: Store, log: EventLog) -> None:
        assert await log.number() == 0
        bounds = await log.bounds()
        assert (bounds.oldest, bounds.newest) == (1, 0)
        one = await created(store, draft(1), spec=Spec(user_id="ann"))
        await store.save(one, [draft(2), draft(3)])
        await store.note(draft(4))
        assert await log.number() == await log.number() == 4
        page = await log.read(0, 100, ALL, max_bytes=LARGE)
        assert [event.position for event in page.events] == [1, 2, 3, 4]
        assert [event.event for event in page.events[:3]] == await store.events(one.id, 0, 10)
        assert {(event.owner, event.user_id) for event in page.events[:3]} == {(one.owner, "ann")}
        assert (page.events[3].event.session_id, page.events[3].owner) == (UUID(int=0), None)
        assert (page.until, page.more) == (4, False)
        assert (await log.read(4, 100, ALL, max_bytes=LARGE)).until == 4

    async def test_a_page_ends_at_its_limits_and_has_a_next_one(self, store: Store, log: EventLog) -> None:
        await created(store, *(draft(number, text="x" * 400) for number in range(5)))
        await log.number()
        cursor, pages = 0, []
        while True:
            page = await log.read(cursor, 2, ALL, max_bytes=500)
            pages.append([event.position for event in page.events])
            cursor = page.until
            if not page.more:
                break
        assert pages == [[1], [2], [3], [4], [5]]
        assert [event.position for event in (await log.read(0, 2, ALL, max_bytes=LARGE)).events] == [1, 2]

    async def test_filters_leave_out_and_the_cursor_moves_on(self, store: Store, log: EventLog) -> None:
        mine = await created(store, draft(1), owner="me", spec=Spec(user_id="ann"))
        other = await created(store, draft(1), draft(2), owner="other", spec=Spec(user_id="bob"))
        await store.note(draft(1))
        await log.number()
        for wanted, positions in (
            (EventFilter(owner="me"), [1]),
            (EventFilter(owner="other", session_id=other.id), [2, 3]),
            (EventFilter(owner="me", session_id=other.id), []),
            (EventFilter(user_id="bob"), [2, 3]),
            (EventFilter(user_id="half \ud800"), []),
            (EventFilter(types=frozenset({"no.such"})), []),
            (EventFilter(types=frozenset({draft().type.value})), [1, 2, 3, 4]),
            (EventFilter(session_id=mine.id), [1]),
        ):
            page = await log.read(0, 100, wanted, max_bytes=LARGE)
            assert [event.position for event in page.events] == positions, wanted
            assert page.until == 4
            assert all(wanted.matches(event) for event in page.events)

    async def test_many_writers_and_many_numberers_leave_no_hole(
        self, store: Store, another: Callable[[], EventLog]
    ) -> None:
        sessions = [await created(store) for _ in range(5)]
        logs = [another() for _ in range(3)]

        async def write(number: int) -> None:
            session_id, saved = sessions[number % 5].id, False
            while not saved:
                with suppress(StaleError):
                    await store.save(await store.load(session_id), [draft(number), draft(number)])
                    saved = True

        async def read() -> list[tuple[UUID, int]]:
            """Follow the log by its cursor while it is written: what is passed over is never seen again."""
            cursor, seen = 0, list[tuple[UUID, int]]()
            while len(seen) < 100:
                await asyncio.gather(*(log.number() for log in logs))
                page = await logs[0].read(cursor, 7, ALL, max_bytes=LARGE)
                assert [event.position for event in page.events] == list(range(cursor + 1, page.until + 1))
                seen += [(event.event.session_id, event.event.seq) for event in page.events]
                cursor = page.until
            return seen

        async with asyncio.timeout(60):
            writers = asyncio.gather(*(write(number) for number in range(50)))
            seen = await read()
            await writers
        assert len(set(seen)) == 100
        for session in sessions:
            assert [seq for session_id, seq in seen if session_id == session.id] == list(range(1, 21))

    async def test_what_is_forgotten_or_trimmed_is_left_out(self, store: Store, log: EventLog) -> None:
        one, two = await created(store, draft(1)), await created(store, draft(1))
        await log.number()
        over = await store.save(ended(one)[0], [])
        await self.publish(store)
        await store.forget(over.id)
        page = await log.read(0, 100, ALL, max_bytes=LARGE)
        assert [event.event.session_id for event in page.events] == [two.id]
        assert page.until == 2
        assert await log.trim(3600) == 0
        assert await log.trim(-1) == 2
        bounds = await log.bounds()
        assert (bounds.oldest, bounds.newest) == (3, 2)
        assert not (await log.read(0, 100, ALL, max_bytes=LARGE)).events
        assert await store.events(two.id, 0, 10), "the events themselves stay"

    async def publish(self, store: Store) -> None:
        """Empty the outbox, so that sessions may be forgotten."""
        raise NotImplementedError

    async def test_a_write_of_this_process_ends_the_wait(self, store: Store, log: EventLog) -> None:
        await log.number()
        await log.wait(0.01)
        waiting = asyncio.create_task(log.wait(30), name="wait")
        await created(store, draft(1))
        await until(waiting.done)

    async def test_a_ticket_is_taken_once_and_in_time(self, log: TicketStore) -> None:
        taken = TakenTicket("key_1", UUID(int=7))
        await log.add_ticket("a", taken, 60)
        await log.add_ticket("b", TakenTicket("key_2", None), -1)
        assert await log.take_ticket("a") == taken
        assert [await log.take_ticket(digest) for digest in ("a", "b", "c")] == [None, None, None]
        both = TakenTicket("key_3", None)
        await log.add_ticket("d", both, 60)
        assert sorted(map(str, await asyncio.gather(log.take_ticket("d"), log.take_ticket("d")))) == ["None", str(both)]
