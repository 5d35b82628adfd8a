"""Paths inside the workspace, and descriptors of what they name. No call here follows a link."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jelmore_runner.workspace.answers import RefusedError, refusal_of

MAX_PATH_BYTES: Final = 4096
MAX_DEPTH: Final = 128
MAX_NAME_BYTES: Final = 255
"""Of one component, as on Linux's file systems."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def parts_of(path: str) -> tuple[str, ...]:
    """Return the components of a path relative to the workspace; empty for the workspace itself.

    Raises RefusedError for a path that leaves it, or that no file can have.
    """
    if path.startswith("/"):
        raise RefusedError("invalid", "path: is relative to the workspace; it does not begin with /")
    parts = tuple(part for part in path.split("/") if part)
    if any(part in {".", ".."} for part in parts):
        raise RefusedError("invalid", "path: has . or .. as a component")
    if "\0" in path or len(path.encode("utf-8", "surrogateescape")) > MAX_PATH_BYTES or len(parts) > MAX_DEPTH:
        raise RefusedError("invalid", f"path: has a NUL, more than {MAX_PATH_BYTES} bytes or {MAX_DEPTH} components")
    if has_long_name(parts):
        raise RefusedError("invalid", f"path: has a name of more than {MAX_NAME_BYTES} bytes")
    return parts


def has_long_name(parts: tuple[str, ...]) -> bool:
    """Return whether a component is longer than a name can be."""
    return any(len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES for part in parts)


@contextmanager
def opened_folder(root: Path | int, parts: tuple[str, ...], *, make: bool = False) -> Iterator[int]:
    """Yield a descriptor of the folder below `root`, reached without links. Missing ones are made with `make`.

    `root` may be a descriptor.

    Raises RefusedError, with the code `is_link` where a component is one.
    """
    descriptor = os.open(".", _DIRECTORY, dir_fd=root) if isinstance(root, int) else os.open(root, _DIRECTORY)
    try:
        for part in parts:
            below = _opened_below(descriptor, part, make=make)
            os.close(descriptor)
            descriptor = below
        yield descriptor
    finally:
        os.close(descriptor)


def _opened_below(folder: int, name: str, *, make: bool) -> int:
    try:
        if make:
            make_folder(folder, name)
        return os.open(name, _DIRECTORY, dir_fd=folder)
    except OSError as error:
        if is_link(folder, name):  # the kernel says ENOTDIR, which would read as "not found"
            raise RefusedError("is_link", f"{shown(name)} is a link, and links are not followed") from None
        raise refusal_of(error, shown(name)) from None


def make_folder(folder: int, name: str) -> None:
    """Make a folder unless something has that name."""
    try:
        os.mkdir(name, 0o2775, dir_fd=folder)
    except FileExistsError:
        return


def is_link(folder: int, name: str) -> bool:
    """Return whether `name` in this folder is a link."""
    try:
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        return False


def encoded(name: str) -> str | None:
    """Return a name that is no UTF-8 text as it is written in a URL; None for text, which needs no other form."""
    if name.isascii() or shown(name) == name:
        return None
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(os.fsencode(name), safe="")


def shown(name: str) -> str:
    """Return a file's name as valid UTF-8 text."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
