"""Reads the agent's processes from /proc, so that no child of a tool outlives the run that started it.

The runner is a subreaper: a process that loses its parent becomes the runner's child, so the tree below is complete.
"""

import ctypes
import os
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

PR_SET_CHILD_SUBREAPER: Final = 36
_PROC: Final = Path("/proc")

AWAITED: Final = set[int]()
"""Children whose exit codes somebody in this process waits for. They are not reaped as adopted processes."""

TERMINALS: Final = set[int]()
"""The first processes of people's terminals. They and what they start outlive Claude Code's process."""


def become_subreaper() -> bool:
    """Adopt orphans from now on. Return False if the kernel does not support it."""
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0)


def descendants(root: int, without: Iterable[int] = ()) -> list[int]:
    """Return the pids below `root`, parents first, zombies included; leave out `without` and what is below them."""
    left_out = set(without)
    children: dict[int, list[int]] = {}
    for pid, parent, _ in _table():
        children.setdefault(parent, []).append(pid)
    found: list[int] = []
    queue = [root]
    while queue:
        below = [pid for pid in children.get(queue.pop(), []) if pid not in left_out]
        found += below
        queue += below
    return found


def session_members(leader: int, *, ended: bool) -> list[int]:
    """Return the processes of a terminal: those of its session, and those below its first process unless that `ended`.

    A process of the session that has lost its parent is a child of the runner. The number of a process that has ended
    may belong to another one, but not while it is the number of a session.
    """
    members = [pid for pid, _, session in _table() if session == leader and not (ended and pid == leader)]
    return members if ended else list(dict.fromkeys((leader, *descendants(leader), *members)))


def reap_adopted(keep: int | None, most: int = 10_000) -> int:
    """Reap up to `most` dead children and return how many.

    Never reaps `keep` and `AWAITED`: those who wait for them would lose their exit codes. While one of them is dead and
    not yet reaped, the kernel may report it first; this call then reaps nothing else.
    """
    count = 0
    while count < most:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if dead is None or dead.si_pid == keep or dead.si_pid in AWAITED:
                break
            os.waitpid(dead.si_pid, os.WNOHANG)
        except ChildProcessError:
            break
        count += 1
    return count


def leftovers(marks: Iterable[str]) -> list[int]:
    """Return the pids of an earlier run of this session: those with all `marks` (NAME=value) in their environment."""
    own = {os.getpid(), *descendants(os.getpid())}
    wanted = {mark.encode() for mark in marks}
    return [pid for pid, _, _ in _table() if pid not in own and wanted.issubset(_environment(pid))]


def send(signal_number: signal.Signals, pids: Iterable[int]) -> None:
    """Signal each pid. Skips processes that have ended or may not be signalled."""
    for pid in pids:
        try:
            os.kill(pid, signal_number)
        except (ProcessLookupError, PermissionError):
            continue


def own_rss_bytes() -> int:
    """Return the resident memory of this process; 0 if it cannot be read."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _table() -> list[tuple[int, int, int]]:
    """Return the pid, the parent and the session of each process."""
    rows = []
    for entry in os.listdir(_PROC):  # noqa: PTH208 - names are all that is needed
        if not entry.isdecimal():
            continue
        try:
            stat = (_PROC / entry / "stat").read_bytes()
        except OSError:
            continue
        # The command name may contain spaces and parentheses; the fields start after the last parenthesis.
        _, parent, _, session = stat.rpartition(b")")[2].split()[:4]
        rows.append((int(entry), int(parent), int(session)))
    return rows


def _environment(pid: int) -> list[bytes]:
    try:
        return (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []
