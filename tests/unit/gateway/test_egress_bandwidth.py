"""Bandwidth is shared evenly between sessions, in virtual time."""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import pytest

from jelmore_gateway.egress.bandwidth import QUANTUM_BYTES, Bandwidth
from tests.unit.control.virtual_time import VirtualLoop

RATE = 10 * QUANTUM_BYTES


def in_virtual_time(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(work)


async def moved(bandwidth: Bandwidth, flows: dict[str, tuple[int, int]], seconds: float) -> Counter[str]:
    """Return the bytes of each session whose (connections, bytes of a chunk) move as fast as they may."""
    counts: Counter[str] = Counter()

    async def flow(session_id: str, chunk: int) -> None:
        while True:
            await bandwidth.take(session_id, chunk)
            counts[session_id] += chunk

    tasks = [
        asyncio.create_task(flow(session_id, chunk), name=f"flow of {session_id}")
        for session_id, (connections, chunk) in flows.items()
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return counts


@pytest.mark.parametrize(
    "flows",
    [
        {"greedy": (60, QUANTUM_BYTES), "modest": (1, QUANTUM_BYTES)},
        {"large": (4, QUANTUM_BYTES), "small": (4, 1000)},
        {f"s{number}": (number + 1, 5000 + number) for number in range(5)},
    ],
    ids=["many connections", "small chunks", "five sessions"],
)
def test_each_session_gets_the_same(flows: dict[str, tuple[int, int]]) -> None:
    async def work() -> None:
        counts = await moved(Bandwidth(RATE), flows, 100)
        share = RATE * 100 / len(flows)
        assert {name: round(count / share, 1) for name, count in counts.items()} == dict.fromkeys(flows, 1.0)

    in_virtual_time(work())


def test_a_session_alone_gets_everything() -> None:
    async def work() -> None:
        counts = await moved(Bandwidth(RATE), {"alone": (1, QUANTUM_BYTES)}, 100)
        assert counts["alone"] == pytest.approx(RATE * 100, rel=0.02)

    in_virtual_time(work())


def test_idle_time_is_not_saved_up_for_a_burst() -> None:
    async def work() -> None:
        bandwidth = Bandwidth(RATE)
        await bandwidth.take("a", 1)
        await asyncio.sleep(3600)
        counts = await moved(bandwidth, {"a": (8, QUANTUM_BYTES)}, 10)
        assert counts["a"] <= RATE * 10.3

    in_virtual_time(work())


def test_a_closed_connection_costs_nothing_and_no_rate_lets_everything_go() -> None:
    async def work() -> None:
        bandwidth, loop = Bandwidth(1000), asyncio.get_running_loop()
        await bandwidth.take("a", 1000)
        gone = asyncio.create_task(bandwidth.take("a", 1_000_000), name="gone")
        await asyncio.sleep(0)
        gone.cancel()
        await bandwidth.take("b", 1000)
        assert loop.time() == pytest.approx(1, abs=0.1)
        waiting = asyncio.create_task(bandwidth.take("c", 10_000_000), name="waiting")
        also = asyncio.create_task(bandwidth.take("c", 10_000_000), name="also")
        await asyncio.sleep(0)
        bandwidth.set_rate(0)
        await asyncio.gather(waiting, also)
        await bandwidth.take("d", 10**12)
        assert loop.time() < 3

    in_virtual_time(work())
