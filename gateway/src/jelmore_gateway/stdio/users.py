"""A user id of its own for each stdio server, where this process may choose one.

Servers of one user could read each other's environment, with credentials of other sessions, and could end each other.
With a user of its own, a server reads nothing of the others, and everything that it has started is found at its end,
also what has left its process group.
"""

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

_log = structlog.get_logger(__name__)

NUMBER: Final = 10_000
"""Ids in a range: one is used again only after all others, so a server finds no files of the one before it."""

MAX_PROCESSES: Final = 256
"""Processes and threads of one server."""

CLEAR_S: Final = 5.0
AGAIN_S: Final = 0.05
_KILL_ALL: Final = ("/bin/sh", "-c", "kill -KILL -1")


class Users:
    """User ids from `first` on. `take` gives one that nobody has, `clear` ends all its processes and takes it back."""

    def __init__(self, first: int) -> None:
        if first < 1000:  # noqa: PLR2004 - `clear` ends everything of a user: never that of the system
            raise ValueError(f"{first} is an id of the system")
        self._first = first
        self._next = 0
        self._taken: set[int] = set()

    def take(self) -> int:
        """Return an id that no server has. Raises RuntimeError when all are taken; there are more than servers."""
        for _ in range(NUMBER):
            user, self._next = self._first + self._next, (self._next + 1) % NUMBER
            if user not in self._taken:
                self._taken.add(user)
                return user
        raise RuntimeError("every user id of stdio servers is taken")

    async def clear(self, user: int) -> None:
        """End every process of an id, and let it be taken again. May run twice.

        An id whose processes cannot be ended stays taken: another session's server must not meet them.
        """
        try:
            async with asyncio.timeout(CLEAR_S):
                while not await _end_all(user):
                    _end_each(user)
                    await asyncio.sleep(AGAIN_S)
        except (TimeoutError, OSError) as error:
            _log.warning("mcp_user_not_cleared", user=user, error=str(error) or type(error).__name__)
            return
        self._taken.discard(user)


async def _end_all(user: int) -> bool:
    """End every process of an id; return False when there is no room for the process that does it. Raises OSError."""
    try:
        # The kernel signals every process that the caller may signal, but not the caller itself, in one step.
        killer = await asyncio.create_subprocess_exec(*_KILL_ALL, user=user, group=user, extra_groups=[])
    except BlockingIOError:  # servers have started as many as may be here
        return False
    await killer.wait()
    return True


def _end_each(user: int, proc: Path = Path("/proc")) -> None:
    """End the processes of an id that are seen, one by one: those that start meanwhile may be missed."""
    for folder in proc.glob("[0-9]*"):
        with suppress(OSError):
            process = os.pidfd_open(int(folder.name))
            try:
                if _owner(folder) == user:  # looked at while the pid is held, so it is of no other process
                    signal.pidfd_send_signal(process, signal.SIGKILL)
            finally:
                os.close(process)


def _owner(folder: Path) -> int | None:
    """Return the real user id of a process. The owner of its folder is not always that."""
    lines = (folder / "status").read_text("utf-8", "replace").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Uid:")), None)


def range_exists(first: int, uid_map: Path = Path("/proc/self/uid_map")) -> bool:
    """Return whether this process's user namespace has all ids of the range that begins with `first`."""
    for line in uid_map.read_text().splitlines():
        inside, _, length = (int(word) for word in line.split())
        if inside <= first and first + NUMBER <= inside + length:
            return True
    return False


def may_choose() -> bool:
    """Return whether this process may start others as another user."""
    return os.geteuid() == 0
