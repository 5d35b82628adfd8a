"""Processes that a tool left behind (`nohup … &`): work that Claude Code does not count.

Whatever loses its parent becomes the runner's child, so the runner's children beside Claude Code are what was left
behind. One that uses processor time counts as work and keeps the session awake. A server that nobody calls uses none:
after `IDLE_S` it counts no more, so that it cannot keep a session awake for ever; it is named when it is paused.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

IDLE_S: Final = 600.0
MOST: Final = 1_000
_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Orphan:
    """A process left behind, with the processor time that it and all below it have used, in ticks."""

    pid: int
    command: str
    ticks: int


@dataclass(slots=True)
class Orphans:
    """What is left behind, and when each of it last did something. `look` costs some file reads for each process."""

    list_orphans: Callable[[int | None], list[Orphan]]
    clock: Callable[[], float] = time.monotonic
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def look(self, agent_pid: int | None) -> tuple[list[Orphan], list[Orphan]]:
        """Return those that work and those that are idle."""
        now = self.clock()
        seen: dict[int, tuple[int, float]] = {}
        working: list[Orphan] = []
        idle: list[Orphan] = []
        for orphan in self.list_orphans(agent_pid):
            ticks, since = self._seen.get(orphan.pid, (-1, now))
            seen[orphan.pid] = (orphan.ticks, since if orphan.ticks == ticks else now)
            (working if now - seen[orphan.pid][1] < IDLE_S else idle).append(orphan)
        self._seen = seen
        return working, idle


def list_orphans(agent_pid: int | None) -> list[Orphan]:
    """Return the living children of this process beside Claude Code; none while Claude Code's pid is not known."""
    if agent_pid is None:
        return []
    found = []
    for pid in _children(os.getpid())[:MOST]:
        stat = _stat(pid)
        if pid != agent_pid and stat is not None:
            found.append(Orphan(pid, stat[0], stat[1] + _ticks_below(pid)))
    return found


def _ticks_below(root: int) -> int:
    ticks, queue, looked = 0, _children(root), 0
    while queue and looked < MOST:
        pid = queue.pop()
        looked += 1
        stat = _stat(pid)
        ticks += stat[1] if stat is not None else 0
        queue += _children(pid)
    return ticks


def _children(pid: int) -> list[int]:
    try:
        threads = os.listdir(_PROC / str(pid) / "task")  # noqa: PTH208 - names are all that is needed
        lists = [(_PROC / str(pid) / "task" / thread / "children").read_text("ascii") for thread in threads]
    except OSError:
        return []
    return [int(word) for text in lists for word in text.split()]


def _stat(pid: int) -> tuple[str, int] | None:
    """Return the command's name and its processor time with that of its dead children; None for a dead process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    if fields[0] in "ZX":
        return None
    return head.partition("(")[2], sum(int(number) for number in fields[11:15])
