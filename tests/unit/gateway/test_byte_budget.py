"""One bound for what many calls hold in memory, and what waits for a slow client within it."""

import asyncio

import pytest

from jelmore_gateway import whole_bodies
from jelmore_gateway.byte_budget import ByteBudget
from jelmore_gateway.stdio import streams
from jelmore_gateway.stdio.streams import Messages, StreamFullError


def test_one_owner_gets_its_share_and_all_of_them_no_more_than_the_bound() -> None:
    budget = ByteBudget(10, 4, 4)
    assert not budget.has_room("a", 5)
    for owner in ("a", "b"):
        assert budget.has_room(owner, 4)
        budget.add(owner, 4)
        assert not budget.has_room(owner, 1)
    assert budget.has_room("c", 2)
    assert not budget.has_room("c", 3)
    budget.give("a", 4)
    assert budget.has_room("a", 4)


@pytest.mark.parametrize(
    ("most", "share", "floor", "greedy"),
    [
        (whole_bodies.MAX_BYTES, whole_bodies.MAX_OF_SANDBOX_BYTES, whole_bodies.FLOOR_BYTES, 9),
        (streams.MAX_BYTES, streams.MAX_OF_SANDBOX_BYTES, streams.FLOOR_BYTES, 12),
    ],
)
def test_sandboxes_that_take_all_they_get_leave_room_for_the_next(
    most: int, share: int, floor: int, greedy: int
) -> None:
    budget, held = ByteBudget(most, share, floor), []
    for owner in (str(number) for number in range(greedy)):
        held.append(0)
        while budget.has_room(owner, 64 * 1024):
            budget.add(owner, 64 * 1024)
            held[-1] += 64 * 1024
    assert max(held) <= share
    assert min(held) >= floor
    assert budget.has_room("another", floor), f"{held} leave {most - sum(held)} bytes"
    for number, size in enumerate(held):
        budget.give(str(number), size)
    assert budget.has_room("another", min(share, most // 5)), "a busy one gets more once the others are gone"


async def test_a_message_waits_for_room_in_any_stream_of_its_sandbox() -> None:
    budget = ByteBudget(100, 10, 10)
    first, second = Messages(budget, "a"), Messages(budget, "a")
    await first.put(b"x" * 8)
    putting = asyncio.create_task(second.put(b"y" * 8), name="put")
    await asyncio.sleep(0.01)
    assert not putting.done()
    assert await first.next(1) == b"x" * 8
    await asyncio.wait_for(putting, 1)
    assert await second.next(1) == b"y" * 8


async def test_what_a_client_that_left_has_not_read_counts_no_more() -> None:
    budget = ByteBudget(100, 10, 10)
    stream = Messages(budget, "a")
    await stream.put(b"x" * 8)
    stream.discard()
    stream.discard()
    await stream.put(b"late")
    assert budget.has_room("a", 10)
    assert await stream.next(1) is None


async def test_the_end_of_a_stream_wakes_who_waits_for_room_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    budget = ByteBudget(100, 10, 10)
    stream = Messages(budget, "a")
    await stream.put(b"x" * 8)
    putting = asyncio.create_task(stream.put(b"y" * 8), name="put")
    await asyncio.sleep(0.01)
    stream.end(b"z")
    await asyncio.wait_for(putting, 1)
    assert [await stream.next(1) for _ in range(3)] == [b"x" * 8, b"z", None]
    assert budget.has_room("a", 10)
    monkeypatch.setattr(streams, "ROOM_S", 0.01)
    budget.add("b", 10)
    with pytest.raises(StreamFullError):
        await Messages(budget, "b").put(b"x")
