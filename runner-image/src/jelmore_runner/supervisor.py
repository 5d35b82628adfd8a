"""Owns all tasks: each has a name, and a task that ends unexpectedly ends the process."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 60.0
FIRST_REPORT_INTERVAL_S: Final = 60.0
LONGEST_REPORT_INTERVAL_S: Final = 6 * 3600.0


class TaskEndedError(Exception):
    """A task has failed, or has ended although it must run as long as the process. The text names it."""


class Supervisor:
    """Starts tasks and reports their failures. `start` must run on the event loop."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._may_end: set[asyncio.Task[Any]] = set()
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def start(self, name: str, work: Coroutine[Any, Any, Any], *, may_end: bool = False) -> "asyncio.Task[Any]":
        """Run `work` as a task called `name`. Unless `may_end`, its end is a failure."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        if may_end:
            self._may_end.add(task)
        task.add_done_callback(self._ended)
        return task

    def start_helper(
        self, name: str, work: Callable[[], Coroutine[Any, Any, Any]], report: Callable[[str], None]
    ) -> None:
        """Keep optional work running. Its failure does not end the run.

        `report` gets the text of a failure, of repeated ones ever more rarely (`ReportLimit`). `work` then starts again
        after a pause that doubles up to `LONGEST_PAUSE_S` while it keeps failing. Returns at once.
        """
        self.start(name, _keep(name, work, report), may_end=True)

    async def watch(self, until: asyncio.Event) -> None:
        """Return when `until` is set. Raises TaskEndedError as soon as a task fails or ends unexpectedly."""
        waiting: asyncio.Future[Any] = asyncio.create_task(until.wait(), name="supervisor")
        try:
            await asyncio.wait([waiting, self._failure], return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._failure.done():
            self._failure.result()

    async def end(self) -> None:
        """Cancel all tasks that still run and wait up to 10 s for them."""
        tasks = list(self._tasks)
        for task in tasks:
            task.remove_done_callback(self._ended)
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)
        self._failure.cancel()

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is None and task in self._may_end:
            self._may_end.discard(task)
            return
        if not self._failure.done():
            error = TaskEndedError(f"task {task.get_name()!r} ended unexpectedly: {failure!r}")
            error.__cause__ = failure
            self._failure.set_exception(error)


class ReportLimit:
    """Which failures of a helper are reported: the first, then ever fewer, at most about a dozen a day. Pure.

    A helper that fails in a loop must not fill the journal of its session.
    """

    def __init__(self) -> None:
        self._interval_s = FIRST_REPORT_INTERVAL_S
        self._next_s = 0.0
        self._left_out = 0

    def due(self, now_s: float) -> int | None:
        """Return how many failures were left out since the last report; None when this one is left out too."""
        if now_s < self._next_s:
            self._left_out += 1
            return None
        was_silent = now_s > self._next_s + LONGEST_REPORT_INTERVAL_S * 4
        self._interval_s = (
            FIRST_REPORT_INTERVAL_S if was_silent else min(self._interval_s * 2, LONGEST_REPORT_INTERVAL_S)
        )
        self._next_s = now_s + self._interval_s
        left_out, self._left_out = self._left_out, 0
        return left_out


async def _keep(name: str, work: Callable[[], Coroutine[Any, Any, Any]], report: Callable[[str], None]) -> None:
    loop = asyncio.get_running_loop()
    pause_s, reports = FIRST_PAUSE_S, ReportLimit()
    while True:
        began = loop.time()
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - optional work must not end the run, whatever it raises
            if loop.time() - began > LONGEST_PAUSE_S:
                pause_s = FIRST_PAUSE_S
            words = f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()[:500]
            left_out = reports.due(loop.time())
            if left_out is not None:
                more = f" ({left_out} earlier failures were not reported)" if left_out else ""
                report(f"{name} failed and starts again in {pause_s:g} s: {words}{more}")
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        else:
            return
