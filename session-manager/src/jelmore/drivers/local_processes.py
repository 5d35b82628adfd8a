"""The processes of one local session, told apart from everything else on the machine by pid and start time together.

A pid is used again after a while; a pid with the moment it began is not. Nothing here signals a pid without both.
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
        """Whether it still runs code: a zombie only waits to be collected."""
        return self.state not in {"Z", "X", "x"}


def process(pid: int) -> Process | None:
    """Return a process, None when there is none."""
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
    except OSError:
        return None
    # The command's name may hold spaces and brackets; the fields start after the last one.
    fields = stat.rpartition(b")")[2].split()
    return Process(pid, int(fields[19]), int(fields[1]), int(fields[3]), fields[0].decode())


def collected(found: Process | None) -> Process | None:
    """Return the process; a dead child of ours is collected, so that it does not stay for ever."""
    if found is not None and not found.alive and found.parent == os.getpid():
        with contextlib.suppress(ChildProcessError):
            os.waitpid(found.pid, os.WNOHANG)
    return found


def table() -> list[Process]:
    """Return every process of the machine."""
    found = (process(int(name)) for name in os.listdir(_PROC) if name.isdecimal())  # noqa: PTH208 - names only
    return [each for each in found if each is not None]


def family(leader: int, started: int, marks: Sequence[str]) -> list[Process]:
    """Return the living processes of a session, children before parents: the leader's session, everything below it, and
    what has one of `marks` (NAME=value) in its environment (a child that left the family when its parent died).
    """
    everyone = [each for each in table() if each.alive and each.pid != os.getpid()]
    lead = process(leader)
    ours: set[int] = set()
    if lead is not None and lead.started == started:
        # While its leader is there, a session's number is nobody else's.
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
    return sorted(members, key=lambda each: each.pid == leader)  # the leader's state tells of them all: it comes last


def send(what: signal.Signals, to: Iterable[Process]) -> None:
    """Signal each, in order; those that are gone are skipped."""
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
