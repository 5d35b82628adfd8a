"""What every `LiveOutput` does, fake or real."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from uuid import UUID

from jelmore.ports import LiveLine, LiveOutput
from jelmore.session.errors import DependencyError
from jelmore.session.output import Output
from tests.support.records import line, lines, new_id
from tests.support.waiting import first
from tests.support.watching import WatchedList

type Wipe = Callable[[], Awaitable[object]]
"""Empties the server behind `live`."""


@asynccontextmanager
async def watching(live: LiveOutput, watched: WatchedList) -> AsyncIterator[AsyncIterator[LiveLine]]:
    """Watch for the block."""
    async with aclosing(live.watch(watched)) as found:
        yield found


async def wait_until_watched(live: LiveOutput, session_id: UUID, found: AsyncIterator[LiveLine]) -> None:
    """Return when published lines of a session arrive; the repeated ones are consumed."""
    repeats = 0

    async def publish_until_seen() -> None:
        nonlocal repeats
        while True:
            repeats += 1
            await live.publish(session_id, f"probe {repeats}")
            await asyncio.sleep(0.02)

    publishing = asyncio.create_task(publish_until_seen(), name="publish_until_seen")
    try:
        await first(found, 1)
    finally:
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
    await live.publish(session_id, "last")
    while (await first(found, 1))[0].text != "last":
        pass


class LiveOutputContract:
    """Subclasses give the fixtures `live` and `wipe`."""

    async def test_the_tail_reaches_back_to_the_first(self, live: LiveOutput) -> None:
        one = new_id()
        await live.check()
        assert await live.tail(one, 0, 10) is None  # nobody knows of it here
        await live.append(one, lines(1, 5))
        await live.append(one, lines(4, 7))  # a repeat and more
        await live.append(one, [])
        assert await live.tail(one, 0, 100) == lines(1, 7)
        assert await live.tail(one, 2, 3) == lines(3, 5)
        assert await live.tail(one, 7, 10) == []
        assert await live.tail(one, 8, 10) is None

    async def test_text_comes_back_as_it_was(self, live: LiveOutput) -> None:
        odd = line(1, {"text": "é 😀 \x00 \u2028 \\ud800"})
        await live.append(one := new_id(), [odd])
        assert await live.tail(one, 0, 1) == [odd]

    async def test_the_tail_never_has_a_hole(self, live: LiveOutput) -> None:
        one = new_id()
        await live.append(one, lines(1, 3))
        await live.append(one, lines(6, 8))
        for after in (0, 1, 3, 4):
            assert await live.tail(one, after, 10) is None
        assert await live.tail(one, 5, 10) == lines(6, 8)

    async def test_what_is_missing_is_read_from_the_store(self, live: LiveOutput, wipe: Wipe) -> None:
        one, asked = new_id(), list[int]()

        async def stored(after: int, limit: int) -> list[Output]:
            asked.append(after)
            return lines(after + 1, after + min(limit, 7))  # the store may return less than it could

        await live.append(one, lines(1, 3), stored)
        await live.append(one, lines(4, 6), stored)
        assert not asked
        await live.append(one, lines(60, 62), stored)
        assert await live.tail(one, 0, 100) == lines(1, 62)
        assert min(asked) == 6
        await wipe()
        await live.append(one, lines(90, 92), stored)
        assert await live.tail(one, 0, 100) == lines(1, 92)
        await live.append(one, lines(1000, 1001), stored)  # more than fits: the newest of it
        assert await live.tail(one, 92, 10) is None
        assert await live.tail(one, 900, 500) == lines(901, 1001)

    async def test_a_store_that_is_away_makes_the_tail_shorter(self, live: LiveOutput) -> None:
        async def stored(after: int, limit: int) -> list[Output]:
            raise DependencyError("postgres", "away")

        await live.append(one := new_id(), lines(1, 3), stored)
        await live.append(one, lines(6, 8), stored)
        assert await live.tail(one, 5, 10) == lines(6, 8)
        assert await live.tail(one, 2, 10) is None

    async def test_a_reader_of_the_tail_never_sees_a_hole(self, live: LiveOutput, wipe: Wipe) -> None:
        one, watched = new_id(), WatchedList()
        watched.add(one)

        async def stored(after: int, limit: int) -> list[Output]:
            return lines(after + 1, after + limit)

        async with watching(live, watched) as found:
            for start in range(1, 300, 10):
                if start % 30 == 1:
                    await wipe()
                if start % 40 != 1:  # some never arrive
                    await live.append(one, lines(start, start + 9), stored)
            await live.append(one, lines(301, 301), stored)
            assert [item.seq for item in await first(found, 301)] == list(range(1, 302))

    async def test_a_wiped_tail_says_so(self, live: LiveOutput, wipe: Wipe) -> None:
        one = new_id()
        await live.append(one, lines(1, 3))
        await wipe()
        assert await live.tail(one, 0, 10) is None
        assert await live.tail(one, 3, 10) is None
        await live.append(one, lines(4, 5))
        assert await live.tail(one, 0, 10) is None
        assert await live.tail(one, 3, 10) == lines(4, 5)

    async def test_old_lines_give_way(self, live: LiveOutput) -> None:
        one = new_id()
        for start in range(1, 1000, 100):
            await live.append(one, lines(start, start + 99))
        assert await live.tail(one, 0, 10) is None
        assert await live.tail(one, 990, 100) == lines(991, 1000)

    async def test_forgotten_sessions_are_not_known(self, live: LiveOutput) -> None:
        ids = sorted(new_id() for _ in range(3))
        for session_id in ids:
            await live.append(session_id, lines(1, 1))
        await live.forget(ids[1])
        await live.forget(ids[1])
        await live.expire(ids[2], 60)
        assert await live.known() == [ids[0], ids[2]]
        assert await live.tail(ids[1], 0, 1) is None

    async def test_publishing_without_readers_is_fine(self, live: LiveOutput) -> None:
        await live.publish(new_id(), "x")

    async def test_one_watch_sees_every_watched_session(self, live: LiveOutput) -> None:
        one, two, other = new_id(), new_id(), new_id()
        watched = WatchedList()
        watched.add(one, seen=2)
        watched.add(two)
        await live.append(one, lines(1, 3))
        async with watching(live, watched) as found:
            assert await first(found, 1) == [LiveLine(one, 3, line(3).text)]
            await live.append(other, lines(1, 1))
            await live.append(two, lines(1, 2))
            assert await first(found, 2) == [LiveLine(two, n, line(n).text) for n in (1, 2)]
            await wait_until_watched(live, two, found)
            await wait_until_watched(live, one, found)
            await live.append(one, lines(4, 4))
            assert await first(found, 1) == [LiveLine(one, 4, line(4).text)]

    async def test_a_change_of_the_list_works_at_once(self, live: LiveOutput) -> None:
        one, two = new_id(), new_id()
        watched = WatchedList()
        await live.append(one, lines(1, 1))
        async with watching(live, watched) as found:
            reading = asyncio.create_task(first(found, 1), name="reading")
            watched.add(one)
            assert [item.seq for item in await asyncio.wait_for(reading, 2)] == [1]
            await live.append(two, lines(1, 1))
            watched.add(two)
            assert [item.session_id for item in await first(found, 1, seconds=2)] == [two]
            await wait_until_watched(live, two, found)
            watched.remove(one)
            watched.add(three := new_id())
            await wait_until_watched(live, three, found)  # so the new list is in force
            await live.append(one, lines(2, 2))
            await live.publish(one, "x")
            await live.append(two, lines(2, 2))
            assert [item.session_id for item in await first(found, 1)] == [two]

    async def test_a_watch_continues_after_a_wipe(self, live: LiveOutput, wipe: Wipe) -> None:
        one = new_id()
        watched = WatchedList()
        watched.add(one)
        async with watching(live, watched) as found:
            await live.append(one, lines(1, 2))
            await first(found, 2)
            await wipe()
            await live.append(one, lines(3, 4))
            assert [item.seq for item in await first(found, 2)] == [3, 4]
            watched.add(two := new_id())
            await live.append(two, lines(1, 1))
            assert [item.session_id for item in await first(found, 1)] == [two]

    async def test_many_lines_come_in_order(self, live: LiveOutput) -> None:
        ids = [new_id() for _ in range(10)]
        watched = WatchedList()
        for session_id in ids:
            watched.add(session_id)
        async with watching(live, watched) as found:
            writers = asyncio.gather(*(live.append(session_id, lines(1, 300)) for session_id in ids))
            items = await first(found, 3000, seconds=20)
            await writers
        for session_id in ids:
            assert [item.seq for item in items if item.session_id == session_id] == list(range(1, 301))

    async def test_watches_come_and_go(self, live: LiveOutput) -> None:
        watched = WatchedList()
        watched.add(one := new_id())
        await live.append(one, lines(1, 1))
        for _ in range(30):
            async with watching(live, watched) as found:
                await first(found, 1)
        await live.check()
