"""The work queue: once per key at a time, the earliest trigger wins, and a failure of one key delays no other."""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import pairwise
from uuid import UUID

from jelmore.control.queue import WorkQueue
from jelmore.control.tasks import Tasks
from jelmore.session.errors import DependencyError

A, B, C = (UUID(int=number) for number in range(1, 4))


class Bench:
    """A queue whose work is noted with its moment."""

    def __init__(self, work: Callable[[UUID], Awaitable[float | None]] | None = None, workers: int = 16) -> None:
        self.tasks = Tasks()
        self.done: list[tuple[UUID, float]] = []
        self._body = work
        self.queue = WorkQueue(self._work, self.tasks, workers=workers)
        self.tasks.keep("queue", self.queue.run)

    async def _work(self, key: UUID) -> float | None:
        self.done.append((key, round(asyncio.get_running_loop().time(), 3)))
        return await self._body(key) if self._body else None


async def test_many_triggers_are_one_piece_of_work() -> None:
    bench = Bench()
    for _ in range(100):
        bench.queue.add(A)
    await asyncio.sleep(1)
    assert bench.done == [(A, 0.0)]
    assert bench.queue.depth() == 0
    await bench.tasks.close()


async def test_the_earliest_trigger_wins() -> None:
    bench = Bench()
    bench.queue.add(A, 50)
    bench.queue.add(A, 5)
    bench.queue.add(A, 20)
    await asyncio.sleep(100)
    assert bench.done == [(A, 5.0)]
    await bench.tasks.close()


async def test_work_comes_again_after_what_it_returns() -> None:
    async def work(_: UUID) -> float | None:
        return 10.0 if len(bench.done) < 3 else None

    bench = Bench(work)
    bench.queue.add(A)
    await asyncio.sleep(100)
    assert [at for _, at in bench.done] == [0.0, 10.0, 20.0]
    await bench.tasks.close()


async def test_one_key_is_worked_on_by_one_and_once_more_when_added_meanwhile() -> None:
    running = most = 0

    async def work(_: UUID) -> float | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(4)
        running -= 1
        return None

    bench = Bench(work)
    bench.queue.add(A)
    await asyncio.sleep(1)
    for _ in range(10):
        bench.queue.add(A)
    await asyncio.sleep(100)
    assert most == 1
    assert [at for _, at in bench.done] == [0.0, 4.0]
    await bench.tasks.close()


async def test_a_busy_key_that_is_due_again_delays_nobody() -> None:
    async def work(key: UUID) -> float | None:
        if key == A:
            await asyncio.sleep(30)
        return None

    bench = Bench(work)
    bench.queue.add(A)
    bench.queue.add(B, 2)
    await asyncio.sleep(1)
    bench.queue.add(A)
    await asyncio.sleep(100)
    assert bench.done == [(A, 0.0), (B, 2.0), (A, 30.0)]
    await bench.tasks.close()


async def test_workers_are_bounded() -> None:
    running = most = 0

    async def work(_: UUID) -> float | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.9)
        running -= 1
        return None

    bench = Bench(work, workers=3)
    for number in range(1, 21):
        bench.queue.add(UUID(int=number))
    await asyncio.sleep(50)
    assert (most, len(bench.done)) == (3, 20)
    await bench.tasks.close()


async def test_sessions_that_hang_do_not_stop_the_others() -> None:
    """A sandbox that answers nothing holds each pass for its deadline of ten seconds, again and again."""
    hung = {UUID(int=number) for number in range(100, 140)}

    async def work(key: UUID) -> float | None:
        if key in hung:
            await asyncio.sleep(10)
            return 0.0
        return None

    bench = Bench(work, workers=4)
    for key in hung:
        bench.queue.add(key)
    await asyncio.sleep(15)
    bench.queue.add(A)
    await asyncio.sleep(5)
    [began] = [at for key, at in bench.done if key == A]
    assert began - 15 <= 2  # it was about a minute
    await bench.tasks.close()


async def test_what_hangs_is_bounded_too() -> None:
    running = most = 0

    async def work(_: UUID) -> float | None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(1000)
        running -= 1
        return None

    bench = Bench(work, workers=3)
    for number in range(1, 301):
        bench.queue.add(UUID(int=number))
    await asyncio.sleep(900)
    assert most == 203
    await bench.tasks.close()


async def test_trouble_is_retried_with_growing_pauses_and_stays_with_its_key() -> None:
    async def work(key: UUID) -> float | None:
        if key == A and len([one for one, _ in bench.done if one == A]) <= 12:
            raise DependencyError("test", "away") if len(bench.done) % 2 else ValueError("a bug")
        return None

    bench = Bench(work)
    bench.queue.add(A)
    bench.queue.add(B, 1)
    await asyncio.sleep(500)
    moments = [at for key, at in bench.done if key == A]
    pauses = [round(later - earlier, 1) for earlier, later in pairwise(moments)]
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0, 15.0, 15.0]
    assert (B, 1.0) in bench.done
    bench.queue.add(C)
    await asyncio.sleep(1)
    assert bench.done[-1] == (C, 500.0)
    await bench.tasks.close()


async def test_what_fails_for_a_day_is_still_retried() -> None:
    """2.0**1024 is no float: a key whose work failed 1,025 times in a row was never worked on again."""
    day_s = 24 * 3600.0

    async def work(_: UUID) -> None:
        if asyncio.get_running_loop().time() < day_s:
            raise DependencyError("postgres", "is away")

    bench = Bench(work)
    bench.queue.add(A)
    await asyncio.sleep(day_s + 30)
    assert len(bench.done) > 5_000
    assert bench.done[-1][1] >= day_s, "worked on after the outage"
    await bench.tasks.close()


async def test_superseded_entries_do_not_pile_up() -> None:
    """A busy session is added at once again and again, while its timer is far away."""

    async def work(_: UUID) -> float | None:
        return 1800.0

    bench = Bench(work)
    bench.queue.add(B, 100)  # earlier than every timer of A: those stay below it
    for _ in range(1000):
        bench.queue.add(A)
        await asyncio.sleep(0.01)
    assert len(bench.done) == 1000
    assert bench.queue.entries() < 100
    await asyncio.sleep(1800)
    assert [key for key, _ in bench.done[1000:]] == [B, A], "the timers are kept"
    await bench.tasks.close()


async def leaking() -> None:
    """Raise the CancelledError of another task, as a library does whose future was cancelled."""
    other: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    other.cancel()
    await other


async def test_a_cancellation_that_leaks_out_of_work_is_retried() -> None:
    async def work(_: UUID) -> float | None:
        if len(bench.done) == 1:
            await leaking()
        return None

    bench = Bench(work, workers=1)
    bench.queue.add(A)
    await asyncio.sleep(1)
    assert [key for key, _ in bench.done] == [A, A]
    await bench.tasks.close()


async def test_a_loop_that_a_leaked_cancellation_ends_is_started_again_but_not_one_that_is_stopped() -> None:
    tasks, runs = Tasks(), 0

    async def body() -> None:
        nonlocal runs
        runs += 1
        await (leaking() if runs == 1 else asyncio.sleep(3600))

    tasks.keep("loop", body)
    await asyncio.sleep(10)
    assert (runs, tasks.restarts, tasks.running()) == (2, {"loop": 1}, ["loop"])
    await tasks.stop("loop")
    assert tasks.running() == []
