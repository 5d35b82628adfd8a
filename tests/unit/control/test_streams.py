"""Live streams: every reader gets every number once, wherever the lines come from at that moment."""

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from jelmore.control.breaker import CircuitBreaker
from jelmore.control.streams import Streams, _Reader, _Watched
from jelmore.control.tasks import Tasks
from jelmore.ports import Page
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore.session.states import SessionStatus
from tests.fakes.memory_live_output import MemoryLiveOutput
from tests.fakes.memory_store import MemoryStore
from tests.support.records import ended, line, new_session


class WeighingStore(MemoryStore):
    """Notes how heavy the heaviest read of output was, and how often a record was loaded."""

    heaviest_bytes = 0
    loads = 0

    async def load(self, session_id: UUID) -> Session:
        self.loads += 1
        return await super().load(session_id)

    async def output(
        self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[Output]:
        page = await super().output(session_id, after, limit, kinds, max_bytes=max_bytes)
        self.heaviest_bytes = max(self.heaviest_bytes, sum(len(output.text) for output in page))
        return page


class Source:
    """A session whose output comes in as a relay would bring it: store first, then Redis."""

    def __init__(self, cap: int = 10_000) -> None:
        self.store = WeighingStore()
        self.live = MemoryLiveOutput(cap)
        self.tasks = Tasks()
        self.streams = Streams(self.store, self.live, CircuitBreaker("redis", self.live.answers, self.tasks))
        self.session = new_session(status=SessionStatus.ACTIVE)

    async def open(self) -> None:
        self.session, _ = await self.store.create(self.session, [], most_live=9, idempotency=None)
        self.tasks.keep("streams", self.streams.run)
        await asyncio.sleep(0)

    async def say(self, count: int, *, lose: bool = False, size: int = 1) -> None:
        first = self.session.output_seq + 1
        outputs = [line(seq, {"text": "x" * size}) for seq in range(first, first + count)]
        self.session = await self.store.save(replace(self.session, output_seq=first + count - 1), [], outputs)
        if not lose and not self.live.away:
            await self.live.append(self.session.id, outputs)

    async def end(self) -> None:
        self.session = await self.store.save(*ended(self.session))
        if not self.live.away:
            await self.live.publish(self.session.id, '{"type":"state"}')


class Reader:
    """Follows until the end, at its own pace."""

    def __init__(
        self, source: Source, after: int | None, pace: random.Random | None = None, *, certain: bool = False
    ) -> None:
        self.seqs: list[int] = []
        self.frames: list[tuple[str, dict[str, Any]]] = []
        self._pace = pace
        self._stream = source.streams.follow(source.session, after, certain=certain)
        self.task = asyncio.create_task(self._read(), name="task")

    async def _read(self) -> None:
        async for item in self._stream:
            if item.seq is None:
                self.frames.append((item.kind, json.loads(item.text)))
            else:
                self.seqs.append(item.seq)
            if self._pace and self._pace.random() < 0.1:
                await asyncio.sleep(self._pace.random() * 3)

    async def done(self) -> None:
        async with asyncio.timeout(6000):
            await self.task

    async def leave(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self._stream.aclose()  # type: ignore[attr-defined]  # an async generator


@pytest.mark.parametrize("seed", range(12))
async def test_seams_have_no_gap_and_no_double(seed: int) -> None:
    dice = random.Random(seed)
    source = Source(cap=dice.choice([5, 50, 10_000]))
    await source.open()
    readers: list[tuple[int, Reader]] = []
    for _ in range(40):
        chance = dice.random()
        if chance < 0.15:
            source.live.wipe()
        elif chance < 0.3:
            source.live.away = not source.live.away
        elif chance < 0.45:
            await source.say(dice.randint(1, 5), lose=True)
        elif chance < 0.6:
            after = dice.randint(0, source.session.output_seq)
            readers.append((after, Reader(source, after, random.Random(dice.random()))))
        else:
            await source.say(dice.choice([1, 2, 30, 700]))
        await asyncio.sleep(dice.choice([0, 0, 0.1, 5]))
    source.live.away = False
    readers.append((0, Reader(source, 0)))
    await source.end()
    for after, reader in readers:
        await reader.done()
        assert reader.seqs == list(range(after + 1, source.session.output_seq + 1))
        assert reader.frames[0][0] == "hello"
        assert reader.frames[-1][0] == "end"
    assert source.streams.readers() == 0
    assert not source.streams.wanted()
    await source.tasks.close()


async def test_what_redis_missed_comes_from_the_store() -> None:
    source = Source()
    await source.open()
    reader = Reader(source, 0)
    await source.say(3)
    await asyncio.sleep(1)
    await source.say(2, lose=True)
    await asyncio.sleep(40)
    assert reader.seqs == [1, 2, 3, 4, 5]
    await reader.leave()
    await source.tasks.close()


async def test_a_line_published_twice_is_read_once() -> None:
    source = Source()
    await source.open()
    reader = Reader(source, 0)
    await source.say(3)
    await asyncio.sleep(1)
    again: list[Output] = list(await source.store.output(source.session.id, 0, 9))
    source.live.wipe()
    await source.live.append(source.session.id, again)
    await source.say(1)
    await asyncio.sleep(40)
    assert reader.seqs == [1, 2, 3, 4]
    await reader.leave()
    await source.tasks.close()


async def test_a_late_joiner_starts_now_and_an_impossible_position_starts_over() -> None:
    source = Source()
    await source.open()
    await source.say(10)
    now, lost = Reader(source, None), Reader(source, 99)
    await asyncio.sleep(1)
    await source.say(2)
    await source.end()
    for reader in (now, lost):
        await reader.done()
    assert now.seqs == [11, 12]
    assert lost.seqs == list(range(1, 13))
    assert (now.frames[0][1]["resume"], lost.frames[0][1]["resume"]) == ("ok", "gap")
    await source.tasks.close()


@pytest.mark.parametrize("redis", [True, False])
async def test_a_reader_a_little_ahead_of_the_store_continues_from_there(redis: bool) -> None:
    source = Source()
    await source.open()
    await source.say(10)
    source.live.away = not redis
    reader = Reader(source, 13)
    await asyncio.sleep(0.5)
    assert reader.frames == []
    await source.say(5)
    await source.end()
    await reader.done()
    assert (reader.frames[0][1]["resume"], reader.frames[0][1]["seq"]) == ("ok", 15)
    assert reader.seqs == [14, 15]
    await source.tasks.close()


async def test_an_ended_session_reaches_no_further_and_nobody_waits_for_it() -> None:
    source = Source()
    await source.open()
    await source.say(2)
    await source.end()
    began = asyncio.get_running_loop().time()
    reader = Reader(source, 9)
    await reader.done()
    assert (reader.frames[0][1]["resume"], reader.seqs) == ("gap", [1, 2])
    assert asyncio.get_running_loop().time() == began
    await source.tasks.close()


async def test_a_seq_that_is_certain_is_waited_for_however_long_the_store_takes() -> None:
    source = Source()
    await source.open()
    await source.say(10)
    reader = Reader(source, 12, certain=True)
    await asyncio.sleep(60)
    await source.say(1)
    await asyncio.sleep(60)
    assert (reader.frames[0][1]["resume"], reader.seqs) == ("ok", [])
    await source.say(3)
    await source.end()
    await reader.done()
    assert reader.seqs == [13, 14]
    await source.tasks.close()


async def test_hundreds_of_readers_share_one_watch() -> None:
    source = Source()
    await source.open()
    readers = [Reader(source, 0) for _ in range(300)]
    await source.say(20)
    await asyncio.sleep(1)
    assert source.streams.readers() == 300
    assert len(source.live._watchers) == 1
    await source.end()
    await asyncio.gather(*(reader.done() for reader in readers))
    assert all(reader.seqs == list(range(1, 21)) for reader in readers)
    await source.tasks.close()


async def test_a_stalled_reader_costs_no_memory() -> None:
    source = Source()
    await source.open()
    stream = source.streams.follow(source.session, 0)
    assert (await anext(stream)).kind == "hello"
    for _ in range(100):
        await source.say(100, size=1000)
        for _ in range(20):
            await source.live.publish(source.session.id, '{"type":"delta","data":{}}')
        await asyncio.sleep(0.01)
    watched = source.streams._watched[source.session.id]
    assert len(watched.lines) <= 1000
    assert watched.line_bytes <= 4 * 1024 * 1024
    assert all(len(reader.deltas) <= 500 for reader in watched.readers)
    seqs = [item.seq async for item in _events(stream, 10_000)]
    assert seqs == list(range(1, 10_001))
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    await source.tasks.close()


@pytest.mark.parametrize("redis", [True, False])
async def test_heavy_lines_are_read_a_few_at_a_time_and_none_waits_for_the_next_poll(redis: bool) -> None:
    source = Source()
    await source.open()
    source.live.away = not redis
    for size in (10, 300_000, 300_000, 10, 3_000_000, 10, 10):
        await source.say(8, size=size)
    began = asyncio.get_running_loop().time()
    stream = source.streams.follow(source.session, 0)
    seqs = [item.seq async for item in _events(stream, 56)]
    assert seqs == list(range(1, 57))
    assert asyncio.get_running_loop().time() == began
    assert source.store.heaviest_bytes < 3_001_000  # a whole chunk would have 29 MB
    await stream.aclose()  # type: ignore[attr-defined]  # an async generator
    await source.tasks.close()


async def test_all_rings_and_all_readers_share_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore.control.streams._ALL_RINGS_BYTES", 1024 * 1024)
    streams, ids = Source().streams, [uuid4() for _ in range(20)]
    streams._watched = {session_id: _Watched(seen=0) for session_id in ids}
    for seq in range(1, 11):
        for session_id in ids:
            streams.feed(session_id, [line(seq, {"text": "x" * 20_000})])
    assert sum(watched.line_bytes for watched in streams._watched.values()) <= 1024 * 1024  # of 4 MB
    assert all(watched.seen == 10 for watched in streams._watched.values())
    assert streams._chunk_bytes() == 1024 * 1024
    for watched in streams._watched.values():
        watched.readers.update(_Reader() for _ in range(100))
    assert streams.readers() * streams._chunk_bytes() <= 128 * 1024 * 1024


async def _events(stream: Any, count: int) -> Any:
    async with asyncio.timeout(60):
        while count:
            item = await anext(stream)
            if item.seq is not None:
                count -= 1
                yield item


async def test_states_and_deltas_are_shown_once() -> None:
    source = Source()
    await source.open()
    reader = Reader(source, 0)
    await asyncio.sleep(1)
    await source.live.publish(source.session.id, '{"type":"delta","data":{"text":"he"}}')
    await asyncio.sleep(1)
    for _ in range(3):
        await source.live.publish(source.session.id, '{"type":"state","state":"active"}')
        await asyncio.sleep(1)
    await source.end()
    await reader.done()
    assert [kind for kind, _ in reader.frames] == ["hello", "state", "delta", "state", "end"]
    assert reader.frames[-1][1] == {"type": "end", "status": "terminated", "reason": "done", "exit_code": None}
    await source.tasks.close()


async def test_readers_take_the_record_from_memory_unless_another_manager_may_have_changed_it() -> None:
    source = Source()
    await source.open()
    source.streams.feed_from_here(source.session.id)
    readers = [Reader(source, 0) for _ in range(20)]
    await asyncio.sleep(1)
    before = source.store.loads
    idle = await source.store.save(replace(source.session, status=SessionStatus.IDLE), [])
    source.streams.feed_record(idle)
    source.streams.feed_frame(idle.id, '{"type":"state","state":"idle","waiting_for":null}')
    source.streams.feed_record(source.session)  # an older save that comes late
    await asyncio.sleep(1)
    assert all(reader.frames[-1][1]["state"] == "idle" for reader in readers)
    assert source.store.loads == before

    source.session = idle
    await source.end()  # by another manager: only Redis says so
    for reader in readers:
        await reader.done()
        assert reader.frames[-1][0] == "end"
    await source.tasks.close()
