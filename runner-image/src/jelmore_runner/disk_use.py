"""How much disk a session uses: the blocks of its files, as `du -x` counts them, within a bounded time.

Nothing is opened and no link is followed, so an agent can neither lead the walk elsewhere nor make it wait.
"""

import ctypes
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

BLOCK_BYTES: Final = 512  # the unit of st_blocks, whatever the file system's own


@dataclass(frozen=True, slots=True)
class DiskUse:
    """What was counted: a lower bound when time ran out or a folder could not be entered."""

    bytes: int
    whole: bool


def disk_use(folders: Sequence[Path], within_s: float) -> DiskUse:
    """Return what `folders` use. Blocking: call it in a thread. Folders that are not there use nothing."""
    walk = _Walk(time.monotonic() + within_s)
    for folder in folders:
        try:
            top = folder.stat(follow_symlinks=False)
        except OSError:
            continue
        with _eyes_of(top.st_uid):
            walk.count(folder, top)
    return DiskUse(walk.bytes, walk.whole)


class _Walk:
    """One count over several folders; a file with many names counts once."""

    def __init__(self, until: float) -> None:
        self.bytes = 0
        self.whole = True
        self._until = until
        self._linked: set[tuple[int, int]] = set()

    def count(self, folder: Path, top: os.stat_result) -> None:
        """Add a folder and all below it on the same file system."""
        self._add(top)
        waiting = [str(folder)]
        while waiting:
            if time.monotonic() > self._until:
                self.whole = False
                return
            try:
                with os.scandir(waiting.pop()) as entries:
                    waiting += self._enter(entries, top.st_dev)
            except FileNotFoundError:
                continue  # removed since it was listed
            except OSError:
                self.whole = False

    def _enter(self, entries: "Iterator[os.DirEntry[str]]", device: int) -> list[str]:
        below = []
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if found.st_dev != device:
                continue
            self._add(found)
            if entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
            elif time.monotonic() > self._until:  # a single folder may hold a million files
                self.whole = False
                break
        return below

    def _add(self, found: os.stat_result) -> None:
        if found.st_nlink > 1:
            name = (found.st_dev, found.st_ino)
            if name in self._linked:
                return
            self._linked.add(name)
        self.bytes += found.st_blocks * BLOCK_BYTES


@contextmanager
def _eyes_of(owner: int) -> Iterator[None]:
    """Look at files as their owner may, in this thread alone: the agent's private folders are closed to the runner.

    Where that is not allowed nothing changes, and what is closed is not counted.
    """
    own = os.geteuid()
    if owner == own:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.setfsuid(owner)
    try:
        yield
    finally:
        libc.setfsuid(own)
