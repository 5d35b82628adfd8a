"""Finds and signals the processes of one local session. A process is identified by pid and start time together.

The kernel reuses pids, but not a pid with the same start time. Nothing here signals a pid without checking both.
"""

import contextlib
import os
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")


@dataclass(frozen=True, slots=True)
class Process:
    """One process as the kernel reports it; `started` is in clock ticks since boot."""

    pid: int
    started: int
    parent: int
    session: int
    state: str

    @property
    def alive(self) -> bool:
        """Whether the process still runs code. A zombie does not."""
        return self.state not in {"Z", "X", "x"}


def process(pid: int) -> Process | None:
    """Return the process with this pid, None when there is none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command's name may contain spaces and parentheses; the other fields start after the last parenthesis.
    fields = stat.rpartition(b")")[2].split()
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0].decode())


def collected(found: Process | None) -> Process | None:
    """Return the process. A dead child of this process is reaped, so that it does not stay a zombie."""
    if found is not None and not found.alive and found.parent == os.getpid():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(found.pid, os.WNOHANG)
    return found


def table() -> list[Process]:
    """Return every process on the machine."""
    found = (process(int(name)) for name in os.listdir(_PROC) if name.isdecimal())  # noqa: PTH208 - names only
    return [each for each in found if each is not None]


def family(leader: int, started: int, marks: Sequence[str]) -> list[Process]:
    """Return the living processes of a session, children before parents and the leader last.

    These are the leader's process session, all descendants, and every process with one of `marks` (NAME=value) in its
    environment: a child that was reparented when its parent died.
    """
    everyone = [each for each in table() if each.alive and each.pid != os.getpid()]
    lead = process(leader)
    ours: set[int] = set()
    if lead is not None and lead.started == started:
        # The kernel does not reuse a session number while its leader exists.
        ours = {each.pid for each in everyone if each.session == leader}
    wanted = {mark.encode() for mark in marks}
    late = [each.pid for each in everyone if each.started >= started]
    ours |= {pid for pid in late if wanted.intersection(_environment(pid))}
    children: dict[int, list[int]] = {}
    for each in everyone:
        children.setdefault(each.parent, []).append(each.pid)
    queue, order = list(ours), []
    while queue:
        pid = queue.pop()
        order.append(pid)
        new = [child for child in children.get(pid, []) if child not in ours]
        ours.update(new)
        queue += new
    by_pid = {each.pid: each for each in everyone}
    members = [by_pid[pid] for pid in reversed(order) if pid in by_pid]
    # The leader's state stands for the whole session, so it is signalled last.
    return sorted(members, key=lambda each: each.pid == leader)


def send(what: signal.Signals, to: Iterable[Process]) -> None:
    """Signal each process in order. Processes that are gone are skipped."""
    for each in to:
        now = process(each.pid)
        if now is not None and now.started == each.started:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(each.pid, what)


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
