"""Readers of the event feed get every event that they may see, once and in order, however slow they are."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from functools import partial

import pytest
import pytest_asyncio

from jelmore.control.event_feed import EventFeed, FeedCursor, FeedItem, FeedStart
from jelmore.control.tasks import Tasks
from jelmore.ports.event_log import EventFilter, LoggedEvent, LogPage
from tests.fakes.memory_event_log import MemoryEventLog
from tests.fakes.memory_store import MemoryStore
from tests.support.records import created, draft
from tests.support.waiting import until

ALL = EventFilter()


class CountingLog(MemoryEventLog):
    """Counts the reads that reach the database."""

    reads = 0

    async def read(self, after: int, limit: int, wanted: EventFilter, *, max_bytes: int) -> LogPage:
        self.reads += 1
        return await super().read(after, limit, wanted, max_bytes=max_bytes)


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def log(store: MemoryStore) -> CountingLog:
    return CountingLog(store, window=20)


@pytest_asyncio.fixture
async def feed(log: CountingLog) -> AsyncIterator[EventFeed]:
    tasks, feed = Tasks(), EventFeed(log)
    tasks.keep("feed", feed.run)
    yield feed
    await tasks.close()


def has_seen(feed: EventFeed, newest: int) -> bool:
    return feed.newest == newest


async def take(items: AsyncGenerator[FeedItem], count: int) -> Sequence[FeedItem]:
    async with asyncio.timeout(10):
        return [await anext(items) for _ in range(count)]


def positions(items: Sequence[FeedItem]) -> list[int]:
    return [item.position for item in items if isinstance(item, LoggedEvent)]


async def test_readers_get_what_happens_after_they_came(store: MemoryStore, feed: EventFeed) -> None:
    session = await created(store, draft(1))
    await until(lambda: feed.newest == 1)
    async with aclosing(feed.follow(ALL, None)) as items:
        [start] = await take(items, 1)
        assert isinstance(start, FeedStart)
        assert (start.gap, start.bounds.newest) == (False, 1)
        await store.save(session, [draft(2), draft(3)])
        assert positions(await take(items, 2)) == [2, 3]
        assert feed.readers() == 1
    assert feed.readers() == 0


async def test_many_live_readers_cost_one_read(store: MemoryStore, log: CountingLog, feed: EventFeed) -> None:
    session = await created(store, draft(1))
    await until(lambda: feed.newest == 1)
    readers = [feed.follow(EventFilter(owner="alice"), None) for _ in range(50)]
    for items in readers:
        await take(items, 1)
    waiting = [asyncio.create_task(take(items, 1), name="reader") for items in readers]
    await asyncio.sleep(0)
    before = log.reads
    await store.save(session, [draft(2)])
    assert [positions(await task) for task in waiting] == [[2]] * 50
    assert log.reads - before <= 2
    for items in readers:
        await items.aclose()


async def test_a_reader_catches_up_from_its_cursor(store: MemoryStore, feed: EventFeed) -> None:
    session = await created(store)
    for number in range(30):
        session = await store.save(session, [draft(number)])
    async with aclosing(feed.follow(ALL, 5)) as items:
        assert positions(await take(items, 26)) == list(range(6, 31))
        await store.save(session, [draft(31)])
        assert positions(await take(items, 1)) == [31]


async def test_each_reader_sees_only_what_its_filter_allows(store: MemoryStore, feed: EventFeed) -> None:
    await created(store, draft(1), owner="other")
    await until(lambda: feed.newest == 1)
    async with aclosing(feed.follow(EventFilter(owner="me"), 0)) as items:
        assert isinstance((await take(items, 1))[0], FeedStart)
        following = asyncio.create_task(take(items, 1), name="reader")
        await created(store, draft(1), owner="other")
        await created(store, draft(1), owner="me")
        assert positions(await following) == [3]


async def test_a_reader_without_matches_gets_its_position(store: MemoryStore, feed: EventFeed) -> None:
    session = await created(store)
    for number in range(300):
        session = await store.save(session, [draft(number)])
    async with aclosing(feed.follow(EventFilter(owner="me"), 0)) as items:
        _, progress = await take(items, 2)
        assert isinstance(progress, FeedCursor)
        assert progress.position >= 256


@pytest.mark.parametrize("after", [0, 1, 999])
async def test_a_cursor_that_is_not_kept_is_a_gap(
    store: MemoryStore, log: CountingLog, feed: EventFeed, after: int
) -> None:
    await created(store, draft(1), draft(2))
    await until(lambda: feed.newest == 2)
    await log.trim(-1)
    await created(store, draft(1))
    await until(lambda: feed.newest == 3)
    async with aclosing(feed.follow(ALL, after)) as items:
        start, first = await take(items, 2)
        assert isinstance(start, FeedStart)
        assert start.gap
        assert positions([first]) == [3]
    page = await feed.page(ALL, after, 10, max_bytes=1000)
    assert (page.gap, positions(page.events), page.until) == (True, [3], 3)


async def test_a_page_skips_what_is_filtered_out(store: MemoryStore, feed: EventFeed) -> None:
    session = await created(store)
    for number in range(50):
        session = await store.save(session, [draft(number)])
    await created(store, draft(1), owner="me")
    await until(lambda: feed.newest == 51)
    page = await feed.page(EventFilter(owner="me"), 0, 10, max_bytes=1000)
    assert (positions(page.events), page.until, page.more, page.gap) == ([51], 51, False, False)


async def test_a_slow_reader_loses_nothing_when_the_ring_moves_on(store: MemoryStore, feed: EventFeed) -> None:
    session = await created(store, draft(0))
    await until(lambda: feed.newest == 1)
    async with aclosing(feed.follow(ALL, None)) as items:
        await take(items, 1)
        for number in range(5):
            session = await store.save(session, [draft(n) for n in range(500)])
            newest = 1 + 500 * (number + 1)
            await until(partial(has_seen, feed, newest))
        assert positions(await take(items, 2500)) == list(range(2, 2502))
