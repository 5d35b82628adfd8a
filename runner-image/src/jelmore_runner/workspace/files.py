"""Reads, lists, writes and deletes files below the workspace, without following links."""

import os
import secrets
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from jelmore_runner.workspace.answers import PIECE_BYTES, Answer, RefusedError, pieces_of, refusal_of
from jelmore_runner.workspace.paths import encoded, is_link, opened_folder, parts_of, shown
from jelmore_runner.workspace.ranges import matches, resolve

TEMPORARY_PREFIX: Final = ".jelmore-upload-"
MAX_LISTED: Final = 1000
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def get(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with a file's bytes, or with the entries of a folder. With `head`, without the content."""
    parts = parts_of(asked["path"])
    if not parts:
        _list(root, parts, asked, answer)
        return
    with opened_folder(root, parts[:-1]) as folder:
        found = _found(folder, parts[-1])
        if stat.S_ISDIR(found.st_mode):
            _list(root, parts, asked, answer)
            return
        descriptor = _opened_file(folder, parts[-1])
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            _send(file, asked, answer)


def _send(file: Any, asked: Mapping[str, Any], answer: Answer) -> None:
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError("not_a_file", "it is neither a regular file nor a folder")
    etag, size = etag_of(found), found.st_size
    head = {"kind": "file", "size": size, "etag": etag, "modified": found.st_mtime, "mode": stat.S_IMODE(found.st_mode)}
    if asked.get("if_match") and not matches(asked["if_match"], etag):
        raise RefusedError("precondition", "the file has changed: its ETag is not in If-Match")
    if asked.get("if_none_match") and matches(asked["if_none_match"], etag):
        answer.begin(**head, not_modified=True)
        return
    start, length = 0, size
    wanted = asked.get("range")
    if wanted is not None and (asked.get("if_range") is None or asked["if_range"] == etag):
        span = resolve(wanted[0], wanted[1], size)
        if span is None:
            answer.begin(**head, unsatisfiable=True)
            return
        start, length = span.start, span.length
        head["range"] = [span.start, span.end - 1]
    answer.begin(**head, length=length)
    if asked.get("head"):
        return
    file.seek(start)
    while length > 0 and (piece := file.read(min(PIECE_BYTES, length))):
        length -= len(piece)
        answer.write(piece)
    if length:
        raise OSError("the file became shorter while it was read")


def _list(root: Path, parts: tuple[str, ...], asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with the folder's entries in the order of their names, after the name `after`, up to `limit`."""
    limit, after = min(int(asked.get("limit") or MAX_LISTED), MAX_LISTED), _name_after(asked.get("after") or "")
    with opened_folder(root, parts) as folder:
        names = sorted(os.listdir(folder))  # noqa: PTH208 - of a descriptor
        chosen = [name for name in names if name > after and not name.startswith(TEMPORARY_PREFIX)]
        entries = [entry for name in chosen[:limit] if (entry := _entry(folder, name)) is not None]
        found = os.fstat(folder)
    more = chosen[limit - 1] if len(chosen) > limit else None
    code = None if more is None else encoded(more)
    answer.begin(kind="directory", modified=found.st_mtime, entries=entries, next=f"/{code}" if code else more)


def _name_after(after: str) -> str:
    """Return the name with which the last page ended. With a slash, which no name has, it is encoded."""
    if not after.startswith("/"):
        return after
    from urllib.parse import unquote_to_bytes

    return os.fsdecode(unquote_to_bytes(after[1:]))


def _entry(folder: int, name: str) -> dict[str, Any] | None:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:  # removed meanwhile
        return None
    entry: dict[str, Any] = {"name": shown(name), "type": _type(found.st_mode), "modified": found.st_mtime}
    if code := encoded(name):
        entry["encoded"] = code
    if stat.S_ISREG(found.st_mode):
        entry |= {"size": found.st_size, "etag": etag_of(found), "executable": bool(found.st_mode & 0o100)}
    elif stat.S_ISLNK(found.st_mode):
        with suppress(OSError):
            entry["target"] = shown(os.readlink(name, dir_fd=folder))
    return entry


def put(root: Path, asked: Mapping[str, Any], body: BinaryIO, answer: Answer) -> None:
    """Write a file from the body by one rename; its folders are made. Conditions hold at the moment of the rename."""
    parts = parts_of(asked["path"])
    if not parts:
        raise RefusedError("is_directory", "path: names the workspace itself; send a file to a name in it")
    if asked["path"].endswith("/"):
        raise RefusedError("invalid", "path: ends with /, as that of a folder; leave it out to write a file")
    with opened_folder(root, parts[:-1], make=True) as folder:
        name = parts[-1]
        _check_conditions(folder, name, asked)
        temporary = TEMPORARY_PREFIX + secrets.token_hex(8)
        try:
            size = _fill(folder, temporary, body, asked)
            before = _check_conditions(folder, name, asked)
            os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=folder)
            raise
        now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    answer.begin(created=before is None, size=size, etag=etag_of(now), modified=now.st_mtime)


def _fill(folder: int, temporary: str, body: BinaryIO, asked: Mapping[str, Any]) -> int:
    """Write the body to a new file; return its size. Raises RefusedError above `most_bytes`."""
    most, size = int(asked["most_bytes"]), 0
    mode = 0o775 if asked.get("executable") else 0o664
    with os.fdopen(os.open(temporary, _NEW, mode, dir_fd=folder), "wb", buffering=0) as file:
        for piece in pieces_of(body):
            size += len(piece)
            if size > most:
                raise RefusedError("no_room", f"the workspace has room for {most} more bytes")
            file.write(piece)
        expected = asked.get("length")
        if expected is not None and size != int(expected):
            raise RefusedError("incomplete", f"{size} of {expected} bytes arrived")
    return size


def _check_conditions(folder: int, name: str, asked: Mapping[str, Any]) -> os.stat_result | None:
    """Return the file that will be replaced, None when there is none. Raises RefusedError."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        found = None
    etag = etag_of(found) if found is not None and stat.S_ISREG(found.st_mode) else None
    if found is not None and stat.S_ISDIR(found.st_mode):
        raise RefusedError("is_directory", "path: is a folder")
    if asked.get("if_match") and not matches(asked["if_match"], etag):
        raise RefusedError("precondition", "the file has changed or is gone: its ETag is not in If-Match")
    if asked.get("if_none_match") and matches(asked["if_none_match"], etag):
        raise RefusedError("precondition", "the file exists, and If-None-Match excludes it")
    return found


def delete(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Delete a file, a link or, with `recursive`, a folder with everything in it."""
    parts = parts_of(asked["path"])
    if not parts:
        raise RefusedError("invalid", "path: the workspace itself cannot be deleted")
    with opened_folder(root, parts[:-1]) as folder:
        found = _stat(folder, parts[-1])
        if asked.get("if_match") and not matches(asked["if_match"], etag_of(found)):
            raise RefusedError("precondition", "the file has changed: its ETag is not in If-Match")
        try:
            if not stat.S_ISDIR(found.st_mode):
                os.unlink(parts[-1], dir_fd=folder)
            elif asked.get("recursive"):
                shutil.rmtree(parts[-1], dir_fd=folder)
            else:
                os.rmdir(parts[-1], dir_fd=folder)
        except OSError as error:
            raise refusal_of(error, shown(asked["path"])) from None
    answer.begin(deleted=True)


def etag_of(found: os.stat_result) -> str:
    """Return the file's entity tag. It changes with every write and every replacement."""
    return f'"{found.st_ino:x}-{found.st_size:x}-{found.st_mtime_ns:x}-{found.st_ctime_ns:x}"'


def _stat(folder: int, name: str) -> os.stat_result:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError as error:
        raise refusal_of(error, shown(name)) from None


def _found(folder: int, name: str) -> os.stat_result:
    found = _stat(folder, name)
    if stat.S_ISLNK(found.st_mode):
        raise RefusedError("is_link", f"{shown(name)} is a link, and links are not followed")
    return found


def _opened_file(folder: int, name: str) -> int:
    try:
        return os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if is_link(folder, name):
            raise RefusedError("is_link", f"{shown(name)} is a link, and links are not followed") from None
        raise refusal_of(error, shown(name)) from None


def _type(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "directory"
    if stat.S_ISREG(mode):
        return "file"
    return "link" if stat.S_ISLNK(mode) else "other"
