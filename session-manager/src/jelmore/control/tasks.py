"""Owns the background tasks of the process: each has a name and an end."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

from jelmore.session.errors import JelmoreError

_log = structlog.get_logger(__name__)


def was_asked_to_end() -> bool:
    """Return whether the current task is being cancelled. If not, a CancelledError leaked from another task."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Tasks:
    """Owns tasks that run as long as the process. A kept task that ends unexpectedly is logged and started again.

    Loops catch the errors that they expect. Any other error is a bug or an unexpected failure; it must neither end the
    process nor go unnoticed.
    """

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.restarts: dict[str, int] = {}

    def keep(self, name: str, body: Callable[[], Awaitable[None]], *, pause_s: float = 1.0) -> None:
        """Run `body` under `name` until stopped: again after `pause_s` seconds whenever it returns or raises."""
        self.start(name, self._again(name, body, pause_s))

    def start(self, name: str, body: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `body` once under `name` and return its task. An earlier task of that name must have ended."""
        task = asyncio.create_task(body, name=name)
        self._tasks[name] = task
        task.add_done_callback(lambda done: self._ended(name, done))
        return task

    def running(self) -> list[str]:
        """Return the names of the running tasks."""
        return sorted(name for name, task in self._tasks.items() if not task.done())

    async def stop(self, name: str) -> None:
        """Cancel the task of that name and wait until it has ended. Succeeds when there is none."""
        task = self._tasks.get(name)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def close(self) -> None:
        """Cancel every task and wait until all have ended, for 10 seconds at most."""
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
            except Exception as error:  # noqa: BLE001 - last resort; see the class docstring
                _log.error("task_failed", task=name, error=repr(error), exc_info=error)
            self.restarts[name] = self.restarts.get(name, 0) + 1
            await asyncio.sleep(pause_s)
