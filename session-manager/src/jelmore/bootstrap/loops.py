"""The loops of a manager: how each is run, and what the health report says about it."""

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jelmore.control.leadership import LeaderTask
from jelmore.control.tasks import Tasks


@dataclass(frozen=True, slots=True)
class Loop:
    """A task that runs as long as the manager. `run` is called again whenever it returns or raises.

    `report` returns what the health report adds to the loop's entry. A loop with `settled` starts when every session
    was reconciled once.
    """

    name: str
    run: Callable[[], Awaitable[None]]
    report: Callable[[], Mapping[str, Any]] = dict
    settled: bool = False


def leader_loop(task: LeaderTask) -> Loop:
    """Return the loop of a task that one manager runs at a time, under the task's name."""

    def report() -> Mapping[str, Any]:
        age_s = None if task.last_run is None else round(time.monotonic() - task.last_run, 1)
        return {"holding": task.holding, "last_run_age_s": age_s}

    return Loop(task.name, task.run, report, settled=True)


def start(tasks: Tasks, loops: Iterable[Loop], *, settled: bool) -> None:
    """Start the loops that belong to this phase of the start."""
    for loop in loops:
        if loop.settled == settled:
            tasks.keep(loop.name, loop.run)


def states(tasks: Tasks, loops: Iterable[Loop]) -> dict[str, Any]:
    """Return the state of each loop, for the health report."""
    running = set(tasks.running())
    return {
        loop.name: {
            "running": loop.name in running,
            "restarts": tasks.restarts.get(loop.name, 0),
            **loop.report(),
        }
        for loop in loops
    }
