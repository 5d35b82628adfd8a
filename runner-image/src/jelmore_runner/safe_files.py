"""Reads and replaces files that the agent controls, without following links.

The runner has rights that the agent lacks. An agent that puts a link, a FIFO or `/dev/zero` where the runner reads
could publish the runner's files, block it forever or exhaust its memory. So every read opens the path component by
component below a directory descriptor: no links, regular files only, non-blocking, limited in size.
"""

import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePath
from typing import BinaryIO, Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def read_file_below(root: Path, relative: PurePath, most_bytes: int, *, start: int = 0) -> bytes | None:
    """Return up to `most_bytes` of a regular file below `root` from byte `start` on; None if it cannot be read.

    Never raises OSError: anything but a readable regular file counts as absent.
    """
    try:
        with _opened(root, relative) as (descriptor, _):
            return os.pread(descriptor, most_bytes, start)
    except OSError:
        return None


def replace_file_below(root: Path, relative: PurePath, content: bytes) -> None:
    """Write a file below `root` by one rename; makes its folder. The group may write both. Raises OSError."""
    with replaced_beneath(root, relative) as file:
        file.write(content)


def make_directory_below(root: Path, relative: PurePath) -> None:
    """Make a folder below `root`, with its parents; the group may write it. May run twice. Raises OSError."""
    with opened_directory(root, [], make=list(relative.parts)):
        pass


def file_size_below(root: Path, relative: PurePath) -> int | None:
    """Return the size in bytes of a regular file below `root`; None if there is none."""
    try:
        with _opened(root, relative) as (_, found):
            return found.st_size
    except OSError:
        return None


@contextmanager
def opened_beneath(root: Path, relative: PurePath) -> Iterator[int]:
    """Yield a descriptor of a regular file below `root`, opened for reading without following links. Raises OSError."""
    with _opened(root, relative) as (descriptor, _):
        yield descriptor


@contextmanager
def replaced_beneath(root: Path, relative: PurePath) -> Iterator[BinaryIO]:
    """Yield a new file that replaces one below `root` when the block ends; makes its folder. Raises OSError."""
    *folders, name = _checked(relative.parts)
    temporary = f".{name[:64]}.{secrets.token_hex(8)}"
    with opened_directory(root, [], make=folders) as directory:
        descriptor = os.open(temporary, _NEW, 0o660, dir_fd=directory)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise


def text_of(path: str) -> str:
    """Return a path as valid UTF-8 text. Invalid bytes become the replacement character."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


@contextmanager
def _opened(root: Path, relative: PurePath) -> Iterator[tuple[int, os.stat_result]]:
    *folders, name = _checked(relative.parts)
    with opened_directory(root, folders) as directory:
        descriptor = os.open(name, _FILE, dir_fd=directory)
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise OSError("not a regular file")
            yield descriptor, found
        finally:
            os.close(descriptor)


@contextmanager
def opened_directory(
    root: Path, parts: "tuple[str, ...] | list[str]", *, make: "tuple[str, ...] | list[str]" = ()
) -> Iterator[int]:
    """Yield a descriptor of the directory at `parts` and `make` below `root`, opened without following links.

    Those of `make` are made if they are missing; the group may write them. Raises OSError.
    """
    descriptor = os.open(root, _DIRECTORY)
    try:
        for index, part in enumerate(_checked([*parts, *make])):
            if index >= len(parts):
                with suppress(FileExistsError):
                    os.mkdir(part, 0o2770, dir_fd=descriptor)
            below = os.open(part, _DIRECTORY, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _checked(parts: "tuple[str, ...] | list[str]") -> list[str]:
    if any(part in {"", ".", ".."} or "/" in part or "\0" in part for part in parts):
        raise OSError("the path leaves its directory")
    return list(parts)
