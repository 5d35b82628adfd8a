"""Measures the disk use of a session: the blocks of its files, as `du -x` counts them, within a bounded time.

It opens no files and follows no links, so an agent can neither redirect nor block the walk. It also counts what an
agent may try to hide: deleted files that are still open or mapped, folders without permissions for their owner, and
paths that are longer than the kernel accepts in one call.
"""

import ctypes
import os
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LONGEST_PATH: Final = 3_000  # bytes; the kernel accepts up to 4,095 in one call
OPEN: Final = 0o500
BLOCK_BYTES: Final = 512  # the unit of st_blocks, independent of the file system's block size


@dataclass(frozen=True, slots=True)
class DiskUse:
    """The bytes and the files counted. Lower bounds if not `whole`: time ran out, or a folder could not be read."""

    bytes: int
    whole: bool
    files: int = 0  # with folders and links: whatever has an inode


def disk_use(folders: Sequence[Path], within_s: float, pids: Iterable[int] = ()) -> DiskUse:
    """Return the disk use of `folders` and of the deleted files on the same disks that `pids` hold open.

    Blocks for up to about `within_s`: call it in a thread. Missing folders count as 0.
    """
    walk = _Walk(time.monotonic() + within_s)
    tops: dict[tuple[int, int], int] = {}
    for folder in folders:
        try:
            top = folder.stat(follow_symlinks=False)
        except OSError:
            continue
        tops.setdefault((top.st_uid, top.st_gid), top.st_dev)
        with rights_of(top.st_uid, top.st_gid):
            walk.count(folder, top)
    pids = list(pids)
    for owner, device in tops.items():
        with rights_of(*owner):
            walk.count_nameless(pids, device)
    return DiskUse(walk.bytes, walk.whole, walk.files)


class _Walk:
    """One count over several folders. A file with several hard links counts once."""

    def __init__(self, until: float) -> None:
        self.bytes = 0
        self.files = 0
        self.whole = True
        self._until = until
        self._linked: set[tuple[int, int]] = set()

    def count(self, folder: Path, top: os.stat_result) -> None:
        """Add a folder and everything below it on the same file system."""
        self._add(top)
        waiting: list[str | _Opened] = [str(folder)]  # a stack: what is below a folder comes before its `_Opened`
        try:
            while waiting:
                place = waiting.pop()
                if isinstance(place, _Opened):
                    place.close()
                elif time.monotonic() > self._until:
                    self.whole = False
                    return
                else:
                    self._visit(place, waiting, top)
        finally:
            for place in reversed(waiting):
                if isinstance(place, _Opened):
                    place.close()

    def _visit(self, place: str, waiting: "list[str | _Opened]", top: os.stat_result) -> None:
        try:
            if top.st_uid and (opened := _open_to_owner(place, top.st_uid)):
                waiting.append(opened)
            descriptor = _open_directory(place)
            try:
                with os.scandir(descriptor) as entries:
                    waiting += self._enter(place, entries, top.st_dev)
            finally:
                os.close(descriptor)
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError:
            self.whole = False

    def count_nameless(self, pids: Sequence[int], device: int) -> None:
        """Add the deleted files on `device` that one of `pids` holds open or has mapped."""
        for pid in pids:
            self._count_open(pid, device)
        for pid in pids:  # afterwards: the size of an open file is known, of one that is only mapped it is not
            self._count_mapped(pid, device)

    def _count_open(self, pid: int, device: int) -> None:
        try:
            descriptors = os.listdir(f"/proc/{pid}/fd")  # noqa: PTH208 - names are all that is needed
        except OSError:
            return  # the process has ended, or we may not read it
        for descriptor in descriptors:
            if time.monotonic() > self._until:
                self.whole = False
                return
            try:
                found = os.stat(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH116 - follows the link to the open file
            except OSError:
                continue
            name = (found.st_dev, found.st_ino)
            if found.st_dev == device and found.st_nlink == 0 and stat.S_ISREG(found.st_mode):
                self.bytes += 0 if name in self._linked else found.st_blocks * BLOCK_BYTES
                self._linked.add(name)

    def _count_mapped(self, pid: int, device: int) -> None:
        """Add deleted files that have no descriptor any more, each up to the end of what is mapped of it."""
        if time.monotonic() > self._until:
            self.whole = False
            return
        try:
            with open(f"/proc/{pid}/maps", "rb") as lines:  # noqa: PTH123
                mapped = [line.split(maxsplit=5) for line in lines if line.endswith(b" (deleted)\n")]
        except OSError:
            return
        ends: dict[tuple[int, int], int] = {}
        for addresses, _, offset, numbers, inode, _ in mapped:
            start, end = (int(each, 16) for each in addresses.split(b"-"))
            name = os.makedev(*(int(each, 16) for each in numbers.split(b":"))), int(inode)
            if name[0] == device and name not in self._linked:
                ends[name] = max(ends.get(name, 0), int(offset, 16) + end - start)
        self.bytes += sum(ends.values())
        self._linked.update(ends)

    def _enter(self, place: str, entries: "Iterator[os.DirEntry[str]]", device: int) -> list[str]:
        below = []
        for entry in entries:
            try:
                found = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            except OSError:
                self.whole = False
                continue
            if found.st_dev != device:
                continue
            self._add(found)
            if entry.is_dir(follow_symlinks=False):
                below.append(f"{place}/{entry.name}")
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
        self.files += 1


@dataclass(frozen=True, slots=True)
class _Opened:
    """A folder that was closed to its owner, and is open until everything below it is counted."""

    path: str
    mode: int
    inode: int

    def close(self) -> None:
        """Restore the mode, if the folder is still there."""
        with suppress(OSError):
            descriptor = _open_directory(self.path)
            try:
                if os.fstat(descriptor).st_ino == self.inode:
                    os.chmod(descriptor, self.mode)  # noqa: PTH101 - by descriptor
            finally:
                os.close(descriptor)


def _open_to_owner(path: str, owner: int) -> _Opened | None:
    """As its owner, open a folder whose mode denies the owner to list or enter it; None if it need not be opened.

    The rights are only the owner's, so nothing else can be changed, even if the folder is replaced by a link.
    """
    head, _, name = path.rpartition("/")
    parent = _open_directory(head or "/")
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != owner or mode & OPEN == OPEN or not stat.S_ISDIR(found.st_mode):
            return None
        os.chmod(name, mode | OPEN, dir_fd=parent)
        return _Opened(path, mode, found.st_ino)
    finally:
        os.close(parent)


def _open_directory(path: str) -> int:
    head, tail = path, ""
    if len(os.fsencode(path)) > LONGEST_PATH:
        cut = path.rfind("/", 0, LONGEST_PATH // 4)  # characters have up to four bytes
        head, tail = path[:cut], path[cut + 1 :]
    descriptor = os.open(head, DIRECTORY)
    while tail:
        cut = tail.rfind("/", 0, LONGEST_PATH // 4) if len(os.fsencode(tail)) > LONGEST_PATH else len(tail)
        head, tail = tail[:cut], tail[cut + 1 :]
        try:
            below = os.open(head, DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


@contextmanager
def rights_of(owner: int, group: int) -> Iterator[None]:
    """Access files with the rights of a user, in this thread only: the runner cannot read the agent's private folders.

    Without the capability for that, nothing changes and those folders are not counted.
    """
    own, own_group = os.geteuid(), os.getegid()
    if owner == own:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.setfsgid(group)  # both are needed to read its open files
    libc.setfsuid(owner)
    try:
        yield
    finally:
        libc.setfsuid(own)
        libc.setfsgid(own_group)
