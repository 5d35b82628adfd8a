"""A Redis whose memory is full: tails are bounded in bytes, memory is freed, readers learn what was not kept."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import pytest_asyncio
import redis.asyncio

from jelmore.drivers.redis_output import RedisOutput
from jelmore.embedded import Valkey
from jelmore.ports import LiveLine
from jelmore.session.errors import DependencyError
from jelmore.session.output import Output
from tests.contract.live_output_contract import wait_until_watched
from tests.support.records import line, lines, new_id
from tests.support.waiting import first
from tests.support.watching import WatchedList

pytestmark = pytest.mark.integration
MIB = 1024 * 1024
MEMORY_BYTES = 24 * MIB
CAP_BYTES = 4 * MIB


@pytest_asyncio.fixture
async def valkey(short_folder: Path) -> AsyncIterator[Valkey]:
    async with Valkey(short_folder / "valkey", short_folder, memory_bytes=MEMORY_BYTES) as server:
        yield server


@pytest_asyncio.fixture
async def client(valkey: Valkey) -> AsyncIterator[Any]:
    client = redis.asyncio.Redis.from_url(valkey.url, protocol=2, decode_responses=True)
    yield client
    await client.aclose()


@pytest_asyncio.fixture
async def live(valkey: Valkey) -> AsyncIterator[RedisOutput]:
    live = RedisOutput(valkey.url, cap_bytes=CAP_BYTES)
    yield live
    await live.close()


def large(seq: int) -> Output:
    """Return a line of a mebibyte."""
    return line(seq, {"text": "x" * MIB})


async def fill(client: Any) -> None:
    """Fill the memory with what is not ours to remove."""
    number = 0
    for size in (MIB, 1024, 16):
        while True:
            number += 1
            try:
                await client.set(f"other:{number}", "x" * size)
            except redis.exceptions.OutOfMemoryError:
                break


async def seqs(client: Any, session_id: UUID) -> list[int]:
    """Return what the session's stream holds."""
    entries = await client.xrange(f"session:{session_id}:output")
    return [int(entry_id.partition("-")[0]) for entry_id, _ in entries]


async def test_a_tail_takes_no_more_than_its_bytes(live: RedisOutput, client: Any) -> None:
    one = new_id()
    for seq in range(1, 251):
        await live.append(one, [large(seq)])
    assert await client.memory_usage(f"session:{one}:output", samples=0) <= CAP_BYTES
    assert await live.tail(one, 248, 10) == [large(249), large(250)]
    await live.append(one, lines(251, 400))
    assert await live.tail(one, 250, 500) == lines(251, 400)
    await live.append(one, [large(seq) for seq in range(401, 421)])
    assert (held := await seqs(client, one)) == list(range(held[0], 421))
    assert len(held) >= 2
    await live.check()


async def test_one_line_larger_than_the_bytes_is_kept_alone(live: RedisOutput, client: Any) -> None:
    one = new_id()
    await live.append(one, [line(1), line(2, {"text": "x" * 2 * CAP_BYTES}), line(3)])
    assert await seqs(client, one) == [3]
    await live.append(one, [line(4, {"text": "x" * 2 * CAP_BYTES})])
    assert await seqs(client, one) == [4]
    await live.append(one, lines(5, 40))
    held = await seqs(client, one)
    assert held == list(range(held[0], 41))
    assert held[0] > 4


async def test_small_lines_one_by_one_are_bounded_in_bytes_too(live: RedisOutput, client: Any) -> None:
    one = new_id()
    for seq in range(1, 601):
        await live.append(one, [line(seq, {"text": "x" * 20_000})])
        if seq % 20 == 0:
            assert await client.memory_usage(f"session:{one}:output", samples=0) <= CAP_BYTES * 9 / 8
    held = await seqs(client, one)
    assert held == list(range(held[0], 601))
    assert len(held) > 100


async def test_a_refill_reads_and_keeps_no_more_than_fits(live: RedisOutput, client: Any) -> None:
    one, read = new_id(), list[int]()

    async def stored(after: int, limit: int) -> list[Output]:
        page = [large(seq) for seq in range(after + 1, after + 1 + min(limit, 3))]
        read.extend(output.seq for output in page)
        return page

    await live.append(one, [line(1000)], stored)
    assert await seqs(client, one) == [997, 998, 999, 1000]
    assert min(read) > 900
    await live.append(one, [line(1003)], stored)
    assert (await seqs(client, one))[-3:] == [1001, 1002, 1003]
    assert await client.memory_usage(f"session:{one}:output", samples=0) <= CAP_BYTES
    await live.append(one, [line(2000), line(2001, {"text": "x" * 2 * CAP_BYTES})], stored)
    assert await seqs(client, one) == [2001]


async def test_many_tails_that_fill_it_give_way(live: RedisOutput, client: Any) -> None:
    sessions = [new_id() for _ in range(20)]
    for session_id in sessions:
        for seq in range(1, 6):
            await live.append(session_id, [large(seq)])
            assert (await live.tail(session_id, seq - 1, 1)) == [large(seq)]
    await live.append(small := new_id(), lines(1, 3))
    assert await live.tail(small, 0, 10) == lines(1, 3)
    await live.append(sessions[0], [large(6)])
    assert (await seqs(client, sessions[0]))[-1] == 6
    await live.check()


async def test_a_full_one_says_so_by_name_and_recovers(live: RedisOutput, client: Any) -> None:
    one = new_id()
    await live.append(one, lines(1, 3))
    await fill(client)
    with pytest.raises(DependencyError, match="redis: full"):
        await live.check()
    await live.answers()
    with pytest.raises(DependencyError, match="redis: full"):
        await live.append(one, [large(4), large(5)])
    await live.publish(one, "x")
    await client.execute_command("FLUSHALL", "SYNC")
    await live.check()
    await live.append(one, lines(20, 22))
    assert await live.tail(one, 19, 10) == lines(20, 22)


async def test_a_watch_lives_on_in_a_full_one(live: RedisOutput, client: Any) -> None:
    one, two, three = new_id(), new_id(), new_id()
    await live.append(three, lines(1, 1))
    await fill(client)
    watched = WatchedList()
    watched.add(one)
    async with aclosing(live.watch(watched)) as found:
        await wait_until_watched(live, one, found)
        watched.add(two)
        await wait_until_watched(live, two, found)
        watched.add(three)
        assert await first(found, 1) == [LiveLine(three, 1, line(1).text)]
        await client.execute_command("FLUSHALL", "SYNC")
        await live.append(one, lines(1, 2))
        assert [item.seq for item in await first(found, 2)] == [1, 2]
