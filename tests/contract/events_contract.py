"""What every `Events` does, fake or real."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from uuid import UUID

import pytest

from jelmore.ports import EventBus, StoredEvent
from jelmore.session.errors import DependencyError
from tests.support.records import MOMENT, new_id

type Published = Callable[[], Awaitable[Sequence[tuple[str, int]]]]
"""Reads what the bus holds, as (session, seq), in order."""


def events(session_id: UUID, first: int, last: int) -> list[StoredEvent]:
    """Return consecutive events of a session."""
    return [
        StoredEvent(session_id, seq, "session.state_changed", MOMENT, {"n": seq}, None, 1)
        for seq in range(first, last + 1)
    ]


class EventsContract:
    """Subclasses give the fixtures `bus`, `published`, `wipe` and `another` (another process's view of the bus)."""

    async def test_the_stream_is_made_once(self, bus: EventBus) -> None:
        with pytest.raises(DependencyError):
            await bus.check()
        stream = await bus.connect()
        assert stream
        assert await bus.connect() == stream
        await bus.check()

    async def test_until_it_is_filled_a_stream_says_so_to_everybody(self, bus: EventBus, another: EventBus) -> None:
        stream = await bus.connect()
        await bus.publish(events(new_id(), 1, 1))
        assert await another.connect() == stream  # the first may have died while it filled it
        await another.filled()
        assert await another.connect() is None
        await another.filled()

    async def test_events_arrive_in_order_and_once(self, bus: EventBus, published: Published) -> None:
        one, two = new_id(), new_id()
        await bus.connect()
        assert await bus.publish(events(one, 1, 300)) == 300
        assert await bus.publish([*events(one, 299, 301), *events(two, 1, 2)]) == 5
        assert await bus.publish([]) == 0
        published_events = await published()
        assert [seq for session, seq in published_events if session == str(one)] == list(range(1, 302))
        assert [seq for session, seq in published_events if session == str(two)] == [1, 2]

    async def test_what_is_published_again_arrives_once_more(self, bus: EventBus, published: Published) -> None:
        one = new_id()
        await bus.connect()
        await bus.publish(events(one, 1, 2))
        marked = [replace(event, again="lost") for event in events(one, 1, 2)]
        assert await bus.publish(marked) == 2
        assert await bus.publish(marked) == 2  # a repeat of that
        assert [(session, seq) for session, seq in await published()] == [(str(one), seq) for seq in (1, 2, 1, 2)]

    async def test_the_events_of_one_session_are_purged(self, bus: EventBus, published: Published) -> None:
        one, two = new_id(), new_id()
        await bus.connect()
        await bus.publish([*events(one, 1, 3), *events(two, 1, 2)])
        assert await bus.purge(one) == 3
        assert await bus.purge(one) == 0
        await bus.publish(events(two, 3, 3))
        assert [(session, seq) for session, seq in await published()] == [(str(two), seq) for seq in (1, 2, 3)]

    async def test_a_lost_stream_is_made_again(
        self, bus: EventBus, published: Published, wipe: Callable[[], Awaitable[object]]
    ) -> None:
        one = new_id()
        first = await bus.connect()
        await bus.filled()
        await bus.publish(events(one, 1, 3))
        await wipe()
        with pytest.raises(DependencyError):
            await bus.publish(events(one, 4, 4))
        assert await bus.connect() not in {None, first}
        await bus.publish(events(one, 1, 4))
        assert [seq for _, seq in await published()] == [1, 2, 3, 4]
