"""Every task of the process has a name, an owner and an end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

import structlog

from jelmore.session.errors import JelmoreError

_log = structlog.get_logger(__name__)


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return this moment, in UTC."""
        return datetime.now(UTC)


def was_asked_to_end() -> bool:
    """Return whether the running task is being cancelled; otherwise a CancelledError is somebody else's that leaked."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Tasks:
    """The owner of tasks that live as long as the process. A task that ends unasked is started again, loudly.

    Loops catch what they expect; what escapes is a bug or bad luck at an unexpected place, and must neither end the
    process nor pass in silence.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.restarts: dict[str, int] = {}

    def keep(self, name: str, body: Callable[[], Awaitable[None]], *, pause_s: float = 1.0) -> None:
        """Run `body` for ever under `name`: again after `pause_s` whenever it returns or raises."""
        self.start(name, self._again(name, body, pause_s))

    def start(self, name: str, body: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `body` once under `name`. A running task of that name must have ended before."""
        task = asyncio.create_task(body, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def running(self) -> list[str]:
        """Return the names of the tasks that run."""
        return sorted(name for name, task in self._tasks.items() if not task.done())

    async def stop(self, name: str) -> None:
        """Cancel the task of that name and wait until it has ended. Unknown is success."""
        task = self._tasks.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancel every task and wait until all have ended."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=10)

    def _ended(self, name: str, task: asyncio.Task[None]) -> None:
        if self._tasks.get(name) is task:
            del self._tasks[name]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("task_failed", task=name, error=repr(error), exc_info=error)

    async def _again(self, name: str, body: Callable[[], Awaitable[None]], pause_s: float) -> None:
        while True:
            try:
                await body()
                _log.warning("task_ended_unasked", task=name)
            except asyncio.CancelledError as error:
                if was_asked_to_end():
                    raise
                _log.error("task_failed", task=name, error=repr(error), exc_info=error)
            except JelmoreError as error:
                _log.warning("task_failed", task=name, error=str(error), code=error.code)
            except Exception as error:  # noqa: BLE001 - the owner of last resort; see the class's docstring
                _log.error("task_failed", task=name, error=repr(error), exc_info=error)
            self.restarts[name] = self.restarts.get(name, 0) + 1
            await asyncio.sleep(pause_s)
