"""Streams folders out as archives, and unpacks archives into folders: checked first, then moved into place."""

import os
import secrets
import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from jelmore_runner.workspace.answers import PIECE_BYTES, Answer, RefusedError, pieces_of
from jelmore_runner.workspace.archive_rules import Budget, Kind, check_link, name_of
from jelmore_runner.workspace.archive_streams import TarStream
from jelmore_runner.workspace.files import TEMPORARY_PREFIX
from jelmore_runner.workspace.paths import make_folder, opened_folder, parts_of, shown

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_UNIX: Final = 3
_BROKEN: Final = (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, MemoryError)


# --- out


def archive(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with a folder as `tar`, `tar.gz` or `zip`. Links are packed as links; devices and sockets are left out."""
    parts = parts_of(asked["path"])
    with opened_folder(root, parts) as folder:
        answer.begin(kind="archive")
        sink = cast("Any", answer)
        if asked["form"] == "zip":
            _zip(folder, sink)
        else:
            mode: Any = "w|gz" if asked["form"] == "tar.gz" else "w|"
            with tarfile.open(mode=mode, fileobj=sink, bufsize=PIECE_BYTES, format=tarfile.PAX_FORMAT) as packed:
                for name, where, entry in walk(folder):
                    add_to_tar(packed, name, where, entry)


def walk(folder: int) -> Iterator[tuple[str, int, str]]:
    """Yield the relative name of each entry, with a descriptor of its folder and its own name. Follows no link."""
    for path, folders, files, here in os.fwalk(".", dir_fd=folder, follow_symlinks=False):
        folders.sort()
        for entry in [*folders, *sorted(files)]:
            if not entry.startswith(TEMPORARY_PREFIX):
                yield os.path.join(path, entry).removeprefix("./"), here, entry  # noqa: PTH118 - a name in an archive
        folders[:] = [each for each in folders if not each.startswith(TEMPORARY_PREFIX)]


def add_to_tar(packed: tarfile.TarFile, name: str, where: int, entry: str) -> None:
    """Add what `walk` has yielded. What is gone, cannot be read, or is a device or a socket is left out."""
    try:
        found = os.stat(entry, dir_fd=where, follow_symlinks=False)
        info = tarfile.TarInfo(name)
        info.mode, info.mtime = stat.S_IMODE(found.st_mode), found.st_mtime
        if stat.S_ISLNK(found.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(entry, dir_fd=where)
            packed.addfile(info)
        elif stat.S_ISDIR(found.st_mode):
            info.type = tarfile.DIRTYPE
            packed.addfile(info)
        elif stat.S_ISREG(found.st_mode):
            descriptor = os.open(entry, _READ, dir_fd=where)
        else:
            return
    except OSError:  # removed meanwhile, or not readable for the agent itself
        return
    if stat.S_ISREG(found.st_mode):
        with os.fdopen(descriptor, "rb") as file:
            info.size = os.fstat(file.fileno()).st_size
            packed.addfile(info, file)


def _zip(folder: int, sink: Any) -> None:
    with zipfile.ZipFile(cast("Any", _Forward(sink)), "w", zipfile.ZIP_DEFLATED, compresslevel=6) as packed:
        for name, where, entry in walk(folder):
            try:
                found = os.stat(entry, dir_fd=where, follow_symlinks=False)
                info = zipfile.ZipInfo(
                    shown(name) + ("/" if stat.S_ISDIR(found.st_mode) else ""), _zip_time(found.st_mtime)
                )
                info.create_system, info.external_attr = _UNIX, found.st_mode << 16
                info.compress_type = zipfile.ZIP_DEFLATED
                if stat.S_ISLNK(found.st_mode):
                    packed.writestr(info, os.fsencode(os.readlink(entry, dir_fd=where)))
                    continue
                if stat.S_ISDIR(found.st_mode):
                    packed.writestr(info, b"")
                    continue
                if not stat.S_ISREG(found.st_mode):
                    continue
                descriptor = os.open(entry, _READ, dir_fd=where)
            except OSError:
                continue
            with os.fdopen(descriptor, "rb") as file, packed.open(info, "w", force_zip64=True) as into:
                shutil.copyfileobj(file, into, PIECE_BYTES)


class _Forward:
    """A stream that cannot seek, so that a zip is written in one pass."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def write(self, content: bytes) -> int:
        return int(self._answer.write(content))

    def flush(self) -> None:
        self._answer.flush()


def _zip_time(modified: float) -> tuple[int, int, int, int, int, int]:
    import time

    moment = time.gmtime(max(modified, 315_532_800))  # the format begins in 1980
    return (min(moment.tm_year, 2107), moment.tm_mon, moment.tm_mday, moment.tm_hour, moment.tm_min, moment.tm_sec)


# --- in


def extract(root: Path, asked: Mapping[str, Any], body: BinaryIO, answer: Answer) -> None:
    """Unpack the body into a folder. Nothing is in place before the whole archive is checked and unpacked."""
    parts = parts_of(asked["path"])
    # A copy of a workspace keeps its links: they are of an agent with the same rights.
    budget = Budget(int(asked["most_bytes"]), any_link=asked.get("copy") is True)
    staging = TEMPORARY_PREFIX + secrets.token_hex(8)
    with opened_folder(root, ()) as top:
        os.mkdir(staging, 0o700, dir_fd=top)
        try:
            with opened_folder(root, (staging,)) as stage:
                try:
                    _unpack(stage, asked["form"], body, budget)
                except _BROKEN as error:
                    raise RefusedError("invalid_archive", f"the archive cannot be read: {error}") from None
                with opened_folder(root, parts, make=True) as target:
                    _check_fits(stage, target)
                    _move(stage, target)
        finally:
            shutil.rmtree(staging, dir_fd=top, ignore_errors=True)
    answer.begin(entries=budget.entries, bytes=budget.bytes)


def _unpack(stage: int, form: str, body: BinaryIO, budget: Budget) -> None:
    if form == "zip":
        _unpack_zip(stage, body, budget)
        return
    stream = TarStream(body, zipped=form == "tar.gz")
    stream.header()
    with tarfile.open(mode="r|", fileobj=cast("Any", stream), bufsize=PIECE_BYTES) as packed:
        while (info := packed.next()) is not None:
            budget.entry()
            stream.content()
            packed.members = []  # type: ignore[attr-defined]  # otherwise all entries of the stream stay in memory
            kind = Kind.FILE if info.isreg() else Kind.FOLDER if info.isdir() else Kind.LINK
            if info.islnk() or (kind is Kind.LINK and not info.issym()):
                kind = Kind.OTHER
            source = packed.extractfile(info) if kind is Kind.FILE else None
            _place(stage, info.name, kind, info.mode, (source, info.linkname), (budget, lambda: stream.received))
            stream.header()


def _unpack_zip(stage: int, body: BinaryIO, budget: Budget) -> None:
    """Unpack a zip. Its index is at its end, so it is kept in a file first."""
    with tempfile.TemporaryFile(dir=f"/proc/self/fd/{stage}") as kept:
        size = 0
        for piece in pieces_of(body):
            size += len(piece)
            if size > budget.most_bytes:
                raise RefusedError("no_room", f"the archive is larger than the {budget.most_bytes} bytes of room")
            kept.write(piece)
        with zipfile.ZipFile(kept) as packed:
            for info in packed.infolist():
                budget.entry()
                if info.flag_bits & 0x1:
                    raise RefusedError("invalid_archive", "the archive is encrypted")
                mode = info.external_attr >> 16 if info.create_system == _UNIX else 0
                kind = Kind.FOLDER if info.is_dir() else _kind_of(mode)
                with packed.open(info) as source:
                    target = source.read(4097).decode("utf-8", "replace") if kind is Kind.LINK else ""
                    _place(stage, info.filename, kind, mode or 0o664, (source, target), (budget, lambda: size))


def _kind_of(mode: int) -> Kind:
    if not stat.S_IFMT(mode) or stat.S_ISREG(mode):
        return Kind.FILE
    return Kind.LINK if stat.S_ISLNK(mode) else Kind.OTHER


def _place(stage: int, name: str, kind: Kind, mode: int, source: Any, budget: Any) -> None:
    """Make one entry below the staging folder."""
    parts = name_of(name)
    if kind is Kind.OTHER:
        raise RefusedError("invalid_archive", f"the entry {name[:200]!r} is a device, a pipe or a hard link")
    if not parts:
        if kind is Kind.FILE:
            for piece in pieces_of(source[0]):
                budget[0].content(len(piece), budget[1]())
        return
    with opened_folder(stage, parts if kind is Kind.FOLDER else parts[:-1], make=True) as folder:
        if kind is Kind.FOLDER:
            return
        with suppress(FileNotFoundError):  # as tar does: a later entry replaces an earlier one
            os.unlink(parts[-1], dir_fd=folder)
        if kind is Kind.LINK:
            if not budget[0].any_link:
                check_link(parts, source[1])
            os.symlink(source[1], parts[-1], dir_fd=folder)
            return
        descriptor = os.open(parts[-1], _NEW, 0o775 if mode & 0o100 else 0o664, dir_fd=folder)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for piece in pieces_of(source[0]):
                budget[0].content(len(piece), budget[1]())
                file.write(piece)


def _check_fits(stage: int, target: int) -> None:
    """Raise RefusedError when something in the target is of another kind than what would replace it."""
    for path, folders, files, _ in os.fwalk(".", dir_fd=stage, follow_symlinks=False):
        for name in [*folders, *files]:
            relative = os.path.join(path, name)  # noqa: PTH118 - below a descriptor
            with suppress(FileNotFoundError):
                there = os.stat(relative, dir_fd=target, follow_symlinks=False)
                new = os.stat(relative, dir_fd=stage, follow_symlinks=False)
                if stat.S_ISDIR(there.st_mode) != stat.S_ISDIR(new.st_mode):
                    raise RefusedError("conflict", f"{relative.removeprefix('./')}: a folder and a file have this name")


def _move(stage: int, target: int) -> None:
    """Move everything into the target, file by file where a folder exists already. Follows no link there."""
    for name in os.listdir(stage):
        found = os.stat(name, dir_fd=stage, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            os.rename(name, name, src_dir_fd=stage, dst_dir_fd=target)
            continue
        make_folder(target, name)
        with opened_folder(stage, (name,)) as below, opened_folder(target, (name,)) as into:
            _move(below, into)
