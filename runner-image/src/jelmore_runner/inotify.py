"""The kernel's inotify: watches directories that are open, so that no name is resolved a second time."""

import asyncio
import ctypes
import os
import platform
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

MODIFY: Final = 0x2
CLOSE_WRITE: Final = 0x8
MOVED_FROM: Final = 0x40
MOVED_TO: Final = 0x80
CREATE: Final = 0x100
DELETE: Final = 0x200
OVERFLOW: Final = 0x4000  # events were lost; its watch is -1
IGNORED: Final = 0x8000  # the watch has ended
IS_DIRECTORY: Final = 0x40000000
_ONLY_DIRECTORY: Final = 0x1000000
_MASK: Final = MODIFY | CLOSE_WRITE | MOVED_FROM | MOVED_TO | CREATE | DELETE | _ONLY_DIRECTORY
_HEAD: Final = struct.Struct("iIII")  # watch, mask, cookie, length of the name
_READ_BYTES: Final = 256 * 1024
_SETRESUID: Final = {"x86_64": 117, "aarch64": 147}
"""Number of the call. The C library's own `setresuid` changes the user of all threads."""

_UNCHANGED: Final = ctypes.c_long(-1)


@dataclass(frozen=True, slots=True)
class Change:
    """An event. `name` is the entry of the watched directory; empty if the event is about the directory itself."""

    watch: int
    mask: int
    name: str


class Inotify:
    """One inotify instance. `add`, `remove` and `read` may run in a thread, one at a time. Close it."""

    def __init__(self, counted_for: int | None = None) -> None:
        """The kernel counts this instance and its watches to the user `counted_for`, where this process may choose one.

        Raises OSError, for example when the user's limit of instances is reached.
        """
        self._libc = ctypes.CDLL(None, use_errno=True)
        with _acting_as(self._libc, counted_for):
            made = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
            number = ctypes.get_errno()
        if made < 0:
            raise OSError(number, os.strerror(number))
        self._descriptor: int = made
        self._lock = threading.Lock()
        self._closing = False

    def add(self, directory: int) -> int:
        """Watch the directory open as descriptor `directory`; return its watch, the same one each time.

        Raises OSError; ENOSPC when the user's limit of watches is reached.
        """
        with self._lock:
            path = f"/proc/self/fd/{directory}".encode()
            return self._checked(self._libc.inotify_add_watch(self._open(), path, _MASK))

    def remove(self, watch: int) -> None:
        """End a watch. Succeeds when it has ended already."""
        with self._lock:
            self._libc.inotify_rm_watch(self._open(), watch)

    def read(self) -> list[Change]:
        """Return the next events, oldest first; none when there are none yet. Raises OSError."""
        with self._lock:
            try:
                data = os.read(self._open(), _READ_BYTES)
            except BlockingIOError:
                return []
        changes, at = [], 0
        while at < len(data):
            watch, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            changes.append(Change(watch, mask, os.fsdecode(data[at : at + length].rstrip(b"\0"))))
            at += length
        return changes

    async def readable(self) -> None:
        """Return when there are events."""
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        descriptor = self._open()
        loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            loop.remove_reader(descriptor)

    def close(self) -> None:
        """End all watches, once a call that runs in a thread has returned. Does not wait long: calls are short."""
        with self._lock:
            if not self._closing:
                self._closing = True
                os.close(self._descriptor)

    def _open(self) -> int:
        if self._closing:
            raise OSError("closed")
        return self._descriptor

    def _checked(self, result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result


@contextmanager
def _acting_as(libc: ctypes.CDLL, user: int | None) -> Iterator[None]:
    """Have `user` as the effective user of this thread. Without the capability for that, nothing changes.

    Never root: the kernel takes all capabilities from a thread that was root and is no more (capabilities(7)).
    """
    number, own = _SETRESUID.get(platform.machine()), os.geteuid()
    if user is None or user in {0, own} or number is None:
        yield
        return
    libc.syscall(number, _UNCHANGED, ctypes.c_long(user), _UNCHANGED)
    try:
        yield
    finally:
        libc.syscall(number, _UNCHANGED, ctypes.c_long(own), _UNCHANGED)
