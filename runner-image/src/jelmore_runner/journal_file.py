"""The journal on disk: lines of JSON that are appended whole and synced, or not at all.

A crash may leave an incomplete last line, and a bad disk a corrupt tail. Loading truncates the file after its last
good line, so that new lines stay readable. All functions block; `journal` calls them from a thread.
"""

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from jelmore_protocol.events import read_json

FILE_MODE: Final = 0o600
_MAX_INDEXED_SEQ: Final = 2**63 - 1


class Disk(Protocol):
    """The system calls that fail when a disk fails."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Append some of `data` and return how many bytes."""

    def sync(self, descriptor: int) -> None:
        """Return when all written data is on the disk."""

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file to `length` bytes."""


class SystemDisk:
    """The operating system's calls."""

    def write(self, descriptor: int, data: memoryview) -> int:
        """Append some of `data` and return how many bytes."""
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        """Sync the content and the size of the file."""
        os.fdatasync(descriptor)

    def truncate(self, descriptor: int, length: int) -> None:
        """Cut the file to `length` bytes."""
        os.ftruncate(descriptor, length)


@dataclass(slots=True)
class JournalFile:
    """An open journal, with an index of where each seq begins. Created by `open_journal_file`."""

    descriptor: int
    disk: Disk
    size: int = 0
    dropped_bytes: int = 0  # cut off while loading
    seqs: "array[int]" = field(default_factory=lambda: array("Q"))
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))

    def append(self, data: bytes) -> None:
        """Write and sync whole lines. If it raises OSError, the file is unchanged and the call may be repeated."""
        try:
            # A failed sync may silently drop pages, so a retry must write all bytes again from the same offset.
            self.disk.truncate(self.descriptor, self.size)
            rest = memoryview(data)
            while rest:
                rest = rest[self.disk.write(self.descriptor, rest) :]
            self.disk.sync(self.descriptor)
        except OSError:
            self._cut_back()
            raise

    def extend_index(self, entries: list[tuple[int, int]]) -> None:
        """Index appended lines, given as (seq, bytes), so that they can be read."""
        for seq, length in entries:
            self.seqs.append(seq)
            self.offsets.append(self.size)
            self.size += length

    def position_after(self, seq: int) -> int:
        """Return the index of the first line with a greater seq; `len(seqs)` when there is none."""
        return bisect_right(self.seqs, seq)

    def read(self, position: int, most_bytes: int) -> bytes:
        """Return whole lines from `position` on: about `most_bytes`, at least one line."""
        begin = self.offsets[position]
        last = bisect_right(self.offsets, begin + most_bytes)
        end = self.offsets[max(last, position + 1)] if max(last, position + 1) < len(self.offsets) else self.size
        return _read_exactly(self.descriptor, begin, end - begin)

    def clear(self) -> None:
        """Remove all lines. Raises OSError, and then nothing is removed."""
        self.disk.truncate(self.descriptor, 0)
        self.size = 0
        del self.seqs[:]
        del self.offsets[:]

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def _cut_back(self) -> None:
        try:
            self.disk.truncate(self.descriptor, self.size)
        except OSError:
            return  # the next append truncates first


def open_journal_file(path: Path, each: Callable[[Mapping[str, Any]], None], disk: Disk | None = None) -> JournalFile:
    """Open or create the journal, pass every event to `each`, and truncate after the last good line.

    Raises OSError.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, FILE_MODE)
    journal = JournalFile(descriptor, disk or SystemDisk())
    last = 0
    with path.open("rb") as lines:
        for line in lines:
            event = _event(line, last)
            if event is None:
                break
            last = event["seq"]
            journal.extend_index([(last, len(line))])
            each(event)
    journal.dropped_bytes = os.fstat(descriptor).st_size - journal.size
    if journal.dropped_bytes:
        journal.disk.truncate(descriptor, journal.size)
    _sync_directory(path.parent)
    return journal


def _event(line: bytes, last: int) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        event = read_json(line)
    except ValueError:
        return None
    good = isinstance(event, dict) and isinstance(event.get("data"), dict) and isinstance(event.get("kind"), str)
    # `type`: true is an int for Python. The bound is that of the index.
    return event if good and type(event.get("seq")) is int and last < event["seq"] <= _MAX_INDEXED_SEQ else None


def _read_exactly(descriptor: int, offset: int, length: int) -> bytes:
    parts = []
    while length:
        part = os.pread(descriptor, length, offset)
        if not part:
            raise OSError("the journal is shorter than its index")
        parts.append(part)
        offset += len(part)
        length -= len(part)
    return b"".join(parts)


def _sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
