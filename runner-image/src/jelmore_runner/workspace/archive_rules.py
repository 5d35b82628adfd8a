"""Which entries of an archive may be extracted. Pure.

An archive is hostile: its names may leave the folder, its links may lead out of it, it may hold devices, and a few
kilobytes may unpack to terabytes.
"""

import posixpath
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from jelmore_runner.workspace.answers import RefusedError
from jelmore_runner.workspace.paths import MAX_DEPTH, MAX_NAME_BYTES, MAX_PATH_BYTES, has_long_name

MAX_ENTRIES: Final = 200_000
MAX_RATIO: Final = 200
"""How many times larger than the archive its content may be. Text seldom compresses better than 20 times."""

RATIO_FREE_BYTES: Final = 64 * 1024 * 1024
"""Content up to this size may have any ratio: empty files of a test suite compress well."""


class Kind(StrEnum):
    """What an entry is."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    OTHER = "other"


def name_of(name: str) -> tuple[str, ...]:
    """Return the components of an entry's name; empty for the archive's own top folder. Raises RefusedError."""
    if name.startswith("/") or "\\" in name or "\0" in name or (len(name) > 1 and name[1] == ":"):
        raise _refused(name, "is not a relative path with /")
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    if ".." in parts:
        raise _refused(name, "leaves the folder")
    if len(name.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise _refused(name, "is too long or too deep")
    if has_long_name(parts):
        raise _refused(name, f"has a name of more than {MAX_NAME_BYTES} bytes")
    return parts


def check_link(parts: tuple[str, ...], target: str) -> None:
    """Raise RefusedError unless the target of a link is relative and stays below the archive's top folder."""
    name = "/".join(parts)
    if not target or target.startswith("/") or "\0" in target or "\\" in target:
        raise _refused(name, "is a link to an absolute path")
    reached = posixpath.normpath(posixpath.join("/".join(parts[:-1]), target))
    if reached == ".." or reached.startswith(("../", "/")):
        raise _refused(name, "is a link that leaves the folder")


@dataclass(slots=True)
class Budget:
    """What an archive may still unpack. `received` returns the compressed bytes read so far."""

    most_bytes: int
    entries: int = 0
    bytes: int = 0
    most_entries: int = field(default=MAX_ENTRIES)
    any_link: bool = False  # links may lead anywhere; they are never followed

    def entry(self) -> None:
        """Count an entry. Raises RefusedError above the bound."""
        self.entries += 1
        if self.entries > self.most_entries:
            raise RefusedError("too_large", f"the archive has more than {self.most_entries} entries")

    def content(self, count: int, received: int) -> None:
        """Count unpacked bytes, of an archive of which `received` bytes were read. Raises RefusedError."""
        self.bytes += count
        if self.bytes > self.most_bytes:
            raise RefusedError("no_room", f"the archive unpacks to more than the {self.most_bytes} bytes of room")
        if self.bytes > RATIO_FREE_BYTES and self.bytes > received * MAX_RATIO:
            raise RefusedError("too_large", f"the archive unpacks to more than {MAX_RATIO} times its own size")


def _refused(name: str, why: str) -> RefusedError:
    shown = name.encode("utf-8", "replace").decode()[:200]
    return RefusedError("invalid_archive", f"the entry {shown!r} {why}")
