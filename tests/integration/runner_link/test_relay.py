"""The manager's end of a relay: order, holes, lines that cannot be read, bounds, and a slow reader."""

import asyncio
from contextlib import aclosing, suppress
from typing import Any

import pytest
from aiohttp import WSMsgType, web

from jelmore.drivers.relay_inbox import BATCH_BYTES, BATCH_OUTPUTS
from jelmore.drivers.relay_pace import FRAMES_PER_S
from jelmore.drivers.runner_link import RunnerLink
from jelmore.ports import ControlAddress, Delta, RelayBreak
from jelmore.session.errors import (
    DependencyError,
    FaultError,
)
from jelmore.session.output import Output
from tests.integration.runner_link.scripted_runner import (
    answering,
    frame,
    hello,
    relaying,
    take_all,
)

pytestmark = pytest.mark.integration


async def test_a_relay_gives_everything_once_in_order_then_says_that_it_broke(at: ControlAddress) -> None:
    delta = '{"type":"delta","data":{"n":1}}'
    texts = [hello(5), frame(3), frame(4), frame(5), delta, '{"type": "state", "state": "idle"}', frame(6, x="ü")]

    async def send(websocket: web.WebSocketResponse) -> None:
        for text in texts:
            await websocket.send_str(text)

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 3)
    assert isinstance(error, RelayBreak)
    assert [item.seq if isinstance(item, Output) else item for item in taken] == [4, 5, Delta(delta), 6]
    last = taken[-1]
    assert isinstance(last, Output)
    assert (last.text, last.data, last.kind) == (texts[-1], {"x": "ü"}, "message")
    assert last.at.tzinfo is not None


async def test_a_hole_is_a_fault_after_what_came_before_it(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        for text in (hello(9), frame(1), frame(2), frame(4)):
            await websocket.send_str(text)
        await websocket.receive()

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert [item.seq for item in taken if isinstance(item, Output)] == [1, 2]
    assert isinstance(error, FaultError)
    assert "output 3 is missing" in str(error)


async def test_a_journal_that_went_back_is_a_fault(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(hello(2))
        await websocket.receive()

    async with answering(at, relaying(send)):
        _, error = await take_all(at, 5)
    assert isinstance(error, FaultError)


@pytest.mark.parametrize("text", ["", "nonsense", "[]", "{}", '{"type":"hello"}'])
async def test_what_is_not_a_frame_is_a_dependency_error(at: ControlAddress, text: str) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(text)
        await websocket.receive()

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert taken == []
    assert isinstance(error, DependencyError)


async def test_a_slow_reader_slows_the_runner_and_batches_are_bounded(at: ControlAddress) -> None:
    count, size = 3000, 16 * 1024
    sent = 0

    async def send(websocket: web.WebSocketResponse) -> None:
        nonlocal sent
        await websocket.send_str(hello(count))
        for seq in range(1, count + 1):
            await websocket.send_str(frame(seq, text="x" * size))
            sent = seq
        assert (await websocket.receive()).type is WSMsgType.CLOSE

    async with answering(at, relaying(send)), aclosing(RunnerLink().relay(at, 0)) as relay:
        first = await anext(relay)
        seen = -1
        async with asyncio.timeout(20):
            while seen != sent:  # until the runner can send no more
                seen = sent
                await asyncio.sleep(0.3)
        assert sent < count / 2
        batches = [first]
        while sum(len(batch) for batch in batches if isinstance(batch, list)) < count:
            batches.append(await anext(relay))
    outputs = [output for batch in batches if isinstance(batch, list) for output in batch]
    assert [output.seq for output in outputs] == list(range(1, count + 1))
    for batch in batches:
        assert isinstance(batch, list)
        assert len(batch) <= BATCH_OUTPUTS
        assert sum(len(output.text) for output in batch) <= BATCH_BYTES
    assert len(batches) < count / 10


async def test_all_relays_share_a_bound_and_each_goes_on(at: ControlAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore.drivers.relay_inbox.MAX_WAITING_BYTES", 256 * 1024)
    count, size = 40, 64 * 1024

    async def send(websocket: web.WebSocketResponse) -> None:
        for seq in range(1, count + 1):
            await websocket.send_str(frame(seq, text="x" * size))
        await websocket.close()

    link = RunnerLink()
    async with answering(at, relaying(send)), asyncio.timeout(20):
        relays = [link.relay(at, 0) for _ in range(8)]
        taken = [await anext(relay) for relay in relays]
        await asyncio.sleep(0.5)  # the runners send as much as is taken
        assert link._waiting.bytes <= 256 * 1024 + 8 * (size + 200)
        for relay, first in zip(relays, taken, strict=True):
            assert isinstance(first, list)
            outputs = list(first)
            with suppress(RelayBreak):
                async for batch in relay:
                    assert isinstance(batch, list)
                    outputs += batch
            assert len(outputs) == count
            await relay.aclose()
    assert link._waiting.bytes == 0


async def test_the_longest_input_passes(at: ControlAddress) -> None:
    size = 7 * 1024 * 1024

    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(frame(1, text="x" * size))
        await websocket.send_str(frame(2))

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert isinstance(error, RelayBreak)
    assert [isinstance(item, Output) and len(item.text) > size for item in taken] == [True, False]


async def test_a_line_that_is_too_long_is_replaced_by_a_mark_and_the_next_relay_continues_after_it(
    at: ControlAddress,
) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        with suppress(ConnectionError):  # the manager hangs up
            for text in (hello(3), frame(1), frame(2, text="x" * 20 * 1024 * 1024), frame(3)):
                await websocket.send_str(text)

    async with answering(at, relaying(send)):
        taken, error = await take_all(at, 0)
    assert isinstance(error, RelayBreak)
    first, mark = taken
    assert isinstance(first, Output)
    assert isinstance(mark, Output)
    assert (first.seq, mark.seq, mark.kind, mark.data["code"]) == (1, 2, "error", "output_unreadable")


async def test_a_line_that_cannot_be_read_is_replaced_by_a_mark(at: ControlAddress) -> None:
    async def send(websocket: web.WebSocketResponse) -> None:
        for text in (hello(2), '{"type":"event","seq":1}', frame(2)):
            await websocket.send_str(text)

    async with answering(at, relaying(send)):
        taken, _ = await take_all(at, 0)
    assert [(item.seq, item.kind) for item in taken if isinstance(item, Output)] == [(1, "error"), (2, "message")]


async def test_leaving_a_relay_leaves_nothing_running(at: ControlAddress) -> None:
    closed = asyncio.Event()

    async def send(websocket: web.WebSocketResponse) -> None:
        await websocket.send_str(frame(1))
        assert (await websocket.receive()).type is WSMsgType.CLOSE
        closed.set()

    before = asyncio.all_tasks()
    async with answering(at, relaying(send)):
        async with aclosing(RunnerLink().relay(at, 0)) as relay:
            await anext(relay)
        await asyncio.wait_for(closed.wait(), 10)
    assert not [task for task in asyncio.all_tasks() - before if task.get_name().startswith("relay")]


async def test_an_event_nested_deeper_than_the_fast_parser_goes_is_relayed(at: ControlAddress) -> None:
    deep: Any = "end"
    for _ in range(300):
        deep = [deep]
    lines = [frame(1, message=deep), frame(2, message="next")]

    async def script(websocket: web.WebSocketResponse) -> None:
        for text in [hello(2), *lines]:
            await websocket.send_str(text)

    async with answering(at, relaying(script)):
        taken, _ = await take_all(at, 0)
    assert [item.text for item in taken if isinstance(item, Output)] == lines


async def test_a_runner_that_floods_with_deltas_is_slowed_down(at: ControlAddress) -> None:
    sent = 0

    async def send(websocket: web.WebSocketResponse) -> None:
        nonlocal sent
        await websocket.send_str(hello(0))
        for _ in range(100_000):
            await websocket.send_str('{"type":"delta","data":{"text":"' + "x" * 500 + '"}}')
            sent += 1

    taken = sent_then = 0
    async with answering(at, relaying(send)):
        with suppress(TimeoutError):
            async with asyncio.timeout(1.5), aclosing(RunnerLink().relay(at, 0)) as relay:
                async for _ in relay:
                    taken, sent_then = taken + 1, sent
    assert 1 < taken <= 2 * FRAMES_PER_S
    assert sent_then < 50_000, "back-pressure reaches the runner"
