"""Finds processes that a tool left running (`nohup … &`), which Claude Code does not count as work.

A process that loses its parent becomes a child of the runner. So all children of the runner except Claude Code are
orphans. An orphan that uses processor time counts as work and keeps the session awake. One that uses none, such as an
unused server, stops counting after `IDLE_S`; an event names it when it is paused with the session.
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
    """An orphan, with the processor time, in ticks, that it and its descendants have used."""

    pid: int
    command: str
    ticks: int


@dataclass(slots=True)
class Orphans:
    """The orphans, and when each of them last used processor time. `scan` reads a few files for each process."""

    list_orphans: Callable[[int | None], list[Orphan]]
    clock: Callable[[], float] = time.monotonic
    _seen: dict[int, tuple[int, float]] = field(default_factory=dict)

    def scan(self, agent_pid: int | None) -> tuple[list[Orphan], list[Orphan]]:
        """Return the working and the idle orphans."""
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
    """Return the live children of this process except Claude Code; none while its pid is unknown."""
    if agent_pid is None:
        return []
    found = []
    for pid in _children(os.getpid())[:MOST]:
        stat = _stat(pid)
        if pid != agent_pid and stat is not None:
            found.append(Orphan(pid, stat[0], stat[1] + _ticks_below(pid)))
    return found


def _ticks_below(root: int) -> int:
    ticks, queue, visited = 0, _children(root), 0
    while queue and visited < MOST:
        pid = queue.pop()
        visited += 1
        stat = _stat(pid)
        ticks += stat[1] if stat is not None else 0
        queue += _children(pid)
    return ticks


def _children(pid: int) -> list[int]:
    """Return the children of a process, without their threads, which gVisor lists too."""
    try:
        threads = os.listdir(_PROC / str(pid) / "task")  # noqa: PTH208 - names are all that is needed
        lists = [(_PROC / str(pid) / "task" / thread / "children").read_text("ascii") for thread in threads]
    except OSError:
        return []
    return [child for text in lists for child in map(int, text.split()) if _is_process(child)]


def _is_process(task: int) -> bool:
    """Return whether a task's number is that of its process; False for a thread's, or once it has ended."""
    try:
        status = (_PROC / str(task) / "status").read_text("utf-8", "replace")
    except OSError:
        return False
    return f"\nTgid:\t{task}\n" in status


def _stat(pid: int) -> tuple[str, int] | None:
    """Return a process's name and its ticks, including those of its dead children; None for a dead process."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text("utf-8", "replace")
    except OSError:
        return None
    head, _, tail = stat.rpartition(")")
    fields = tail.split()
    if fields[0] in "ZX":
        return None
    return head.partition("(")[2], sum(int(number) for number in fields[11:15])


MAX_SHOWN: Final = 20


def shown(orphans: list[Orphan]) -> dict[str, list[dict[str, int | str]]]:
    """Return the data of the event that names processes which are paused with the session."""
    return {"processes": [{"pid": orphan.pid, "command": orphan.command} for orphan in orphans[:MAX_SHOWN]]}
