"""Streams out the workspace as it was before a turn, and leaves it as it is: what a fork of that moment begins with."""

import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, cast

from jelmore_runner.workspace.answers import PIECE_BYTES, Answer, RefusedError
from jelmore_runner.workspace.archives import add_to_tar, walk
from jelmore_runner.workspace.git_commands import Git
from jelmore_runner.workspace.paths import opened_folder
from jelmore_runner.workspace.snapshots import Store, differences, is_ignore_file, joined, not_ignored, opened

_LINK: Final = "120000"
_EXECUTABLE: Final = "100755"
_FIELDS: Final = 3


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of a tree."""

    name: str
    mode: str
    blob: str


def archive_turn(root: Path, asked: Mapping[str, Any], answer: Answer) -> None:
    """Answer with a `tar` of the workspace as `snapshots.restore` of the turn of event `seq` would leave it.

    Nothing of the workspace changes. May run twice. Raises RefusedError: `conflict` without a snapshot of this turn,
    `too_large` when more has changed since than a snapshot may add.
    """
    seq = int(asked["seq"])
    with opened(root) as store:
        wanted, unknown, now = store.named(seq), store.left_out(seq), store.tree().tree
        git = store.git()
        removed, names = differences(git, now, wanted, unknown)
        written = frozenset(names)
        entries = _entries(git, wanted, written)
        gone = frozenset([*filter(is_ignore_file, removed), *_not_ignored_then(store, wanted, removed)])
    # The store is free again: the next turn of the session does not wait for whoever reads this.
    answer.begin(kind="archive", seq=seq)
    with (
        opened_folder(root, ()) as folder,
        tarfile.open(mode="w|", fileobj=cast("Any", answer), bufsize=PIECE_BYTES, format=tarfile.PAX_FORMAT) as packed,
    ):
        for name, where, entry in _left(folder, gone, written):
            add_to_tar(packed, name, where, entry)
        _add_blobs(packed, git, entries)


def _entries(git: Git, tree: str, names: frozenset[str]) -> list[_Entry]:
    found = list[_Entry]()
    for line in git.run("ls-tree", "-r", "-z", tree).split("\0"):
        about, _, name = line.partition("\t")
        if name in names:
            mode, _, blob = about.split(" ")
            found.append(_Entry(name, mode, blob))
    return found


def _not_ignored_then(store: Store, tree: str, names: list[str]) -> list[str]:
    """Return those that the ignore files of a tree do not name. They are read from a folder that has nothing else."""
    with tempfile.TemporaryDirectory() as alone:
        git = store.git(index="then", root=Path(alone))
        git.run("read-tree", "--empty")
        git.run("read-tree", tree)
        rules = filter(is_ignore_file, git.run("ls-files", "-z").split("\0"))
        git.run("checkout-index", "-q", "-f", "-z", "--stdin", given=joined(rules))
        return not_ignored(git, names)


def _left(folder: int, gone: frozenset[str], written: frozenset[str]) -> Iterator[tuple[str, int, str]]:
    """Yield the entries of the workspace that stay. A folder that only had what is gone is not among them."""
    emptied, filled = _folders_of(gone), _folders_of(written)
    for name, where, entry in walk(folder):
        if name in gone or name in written or not written.isdisjoint(_parents(name)):
            continue
        if name in emptied:  # what stays in it makes it
            continue
        if name in filled and not stat.S_ISDIR(os.stat(entry, dir_fd=where, follow_symlinks=False).st_mode):
            continue
        yield name, where, entry


def _folders_of(names: Iterable[str]) -> frozenset[str]:
    return frozenset(parent for name in names for parent in _parents(name))


def _parents(name: str) -> list[str]:
    return [str(each) for each in PurePosixPath(name).parents][:-1]


def _add_blobs(packed: tarfile.TarFile, git: Git, entries: list[_Entry]) -> None:
    """Add files with the content that git has of them. Raises RefusedError when it has not."""
    with git.started("cat-file", "--batch") as process:
        asked, given = process.stdin, process.stdout
        assert asked is not None  # noqa: S101 - pipes were asked for
        assert given is not None  # noqa: S101
        for entry in entries:
            asked.write(entry.blob.encode() + b"\n")
            asked.flush()
            words = given.readline().split()
            if len(words) != _FIELDS or words[1] != b"blob":
                raise RefusedError("git", f"the snapshot has no content of {entry.name[:200]!r}")
            info = tarfile.TarInfo(entry.name)
            info.mode, size = 0o775 if entry.mode == _EXECUTABLE else 0o664, int(words[2])
            if entry.mode == _LINK:
                info.type, info.linkname = tarfile.SYMTYPE, os.fsdecode(given.read(size))
                packed.addfile(info)
            else:
                info.size, info.mtime = size, time.time()
                packed.addfile(info, given)
            given.read(1)  # the line that ends it
        asked.close()
