"""Watches the directories of the workspace, one watch each, without following links and within limits.

Links are never followed, so a link to `/` costs no watch and nothing outside of the workspace is seen. Watches are
scarce: the kernel limits them per user. They are counted to the owner of the workspace, which is the agent: a session
whose agent has a user of its own can use up its own watches and no others.
"""

import errno
import os
import time
from collections import deque
from pathlib import Path, PurePath
from typing import Final

from jelmore_runner import inotify
from jelmore_runner.inotify import Change, Inotify
from jelmore_runner.safe_files import opened_directory

MAX_WATCHES: Final = 8192
MAX_CHANGES: Final = 10_000
MAX_FOUND: Final = 1_000
MAX_DEPTH: Final = 40
SCAN_S: Final = 5.0
SKIPPED: Final = frozenset(
    {"node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".cache"}
)
_OF_GIT: Final = frozenset({"refs", "worktrees", "modules"})  # watched with what is below
_NOT_OF_GIT: Final = frozenset({"objects", "hooks", "info", "lfs", "rr-cache", "branches"})
_TOO_MANY: Final = f"only {MAX_WATCHES} folders of the workspace are watched"
_HOST_LIMIT: Final = "the host's limit of watches (fs.inotify.max_user_watches) is reached; not all folders are watched"
_TOO_LONG: Final = "the workspace has too many files to watch all folders"


def is_watched(directory: PurePath) -> bool:
    """Return whether changes in `directory`, relative to the workspace, are of interest. Pure."""
    if len(directory.parts) > MAX_DEPTH or SKIPPED.intersection(directory.parts):
        return False
    if ".git" not in directory.parts:
        return True
    inside = directory.parts[directory.parts.index(".git") + 1 :]
    if not inside or inside == ("logs",):
        return True
    return inside[0] in _OF_GIT and not _NOT_OF_GIT.intersection(inside) and "logs" not in inside[:-1]


class Changes:
    """The changes of some time, one word per path: created, modified or deleted."""

    def __init__(self) -> None:
        self.words: dict[PurePath, str] = {}
        self.found: list[PurePath] = []  # files of new directories, made before their directory was watched
        self.missed = False  # the kernel or the bound dropped some

    def add(self, path: PurePath, word: str) -> None:
        """Add a change. What was created and deleted again is dropped."""
        before = self.words.get(path)
        if before is None and len(self.words) >= MAX_CHANGES:
            self.missed = True
        elif before == "created" and word == "deleted":
            del self.words[path]
        elif before == "created":
            pass
        elif before == "deleted" and word == "created":
            self.words[path] = "modified"
        else:
            self.words[path] = word


class DirectoryWatches:
    """The watches of one workspace. `add_below` and `take` block for up to some seconds: call them in a thread.

    Raises OSError at the end of the workspace itself.
    """

    def __init__(self, workspace: Path, most: int = MAX_WATCHES) -> None:
        self.limited: str | None = None  # why not everything is watched
        self._workspace = workspace
        self._most = most
        self._inotify = Inotify(counted_for=workspace.stat().st_uid)
        self._paths: dict[int, PurePath] = {}

    def __len__(self) -> int:
        return len(self._paths)

    async def readable(self) -> None:
        """Return when there are changes to take."""
        await self._inotify.readable()

    def close(self) -> None:
        """End all watches. May run twice."""
        self._inotify.close()

    def add_below(self, top: PurePath) -> list[PurePath]:
        """Watch a directory and those below it, the upper ones first; return the files there, up to `MAX_FOUND`.

        Skips what is gone, closed to us, or a link. Says in `limited` what it had to leave out.
        """
        until = time.monotonic() + SCAN_S
        waiting, files = deque([top]), list[PurePath]()
        while waiting:
            here = waiting.popleft()
            if not is_watched(here):
                continue
            try:
                with opened_directory(self._workspace, here.parts) as descriptor:
                    if not self._watch(descriptor, here):
                        break
                    with os.scandir(descriptor) as entries:
                        for entry in entries:
                            if entry.is_dir(follow_symlinks=False):
                                waiting.append(here / entry.name)
                            elif len(files) < MAX_FOUND and not entry.is_symlink():
                                files.append(here / entry.name)
                            if time.monotonic() > until:
                                self.limited = _TOO_LONG
                                return files
            except OSError:
                continue
        return files

    def take(self, changes: Changes) -> None:
        """Add what has changed to `changes`, and watch new directories. Raises OSError when the workspace is gone."""
        events = self._inotify.read()
        left = {path for event in events if (path := self._directory(event, inotify.MOVED_FROM))}
        for event in events:
            self._take(event, changes)
        if left:
            self._forget(left)
        for path in dict.fromkeys(
            path for event in events if (path := self._directory(event, inotify.CREATE | inotify.MOVED_TO))
        ):
            changes.found += self.add_below(path)[: MAX_FOUND - len(changes.found)]
        if any(event.mask & inotify.OVERFLOW for event in events):
            changes.missed = True
            self.add_below(PurePath())

    def _take(self, event: Change, changes: Changes) -> None:
        folder = self._paths.get(event.watch)
        if event.mask & inotify.IGNORED:
            self._paths.pop(event.watch, None)
            if folder == PurePath():
                raise OSError(errno.ENOENT, "the workspace is gone")
        elif folder is not None and event.name:
            if event.mask & (inotify.CREATE | inotify.MOVED_TO):
                changes.add(folder / event.name, "created")
            elif event.mask & (inotify.DELETE | inotify.MOVED_FROM):
                changes.add(folder / event.name, "deleted")
            elif not event.mask & inotify.IS_DIRECTORY:
                changes.add(folder / event.name, "modified")

    def _directory(self, event: Change, mask: int) -> PurePath | None:
        """Return the directory that an event with one of the bits of `mask` is about, else None."""
        folder = self._paths.get(event.watch)
        is_one = event.mask & inotify.IS_DIRECTORY and event.mask & mask and event.name
        return folder / event.name if is_one and folder is not None else None

    def _watch(self, descriptor: int, path: PurePath) -> bool:
        if len(self._paths) >= self._most:
            self.limited = _TOO_MANY
            return False
        try:
            self._paths[self._inotify.add(descriptor)] = path
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            self.limited = _HOST_LIMIT
            return False
        return True

    def _forget(self, tops: set[PurePath]) -> None:
        """End the watches of directories that were moved away. In their new place they get new ones."""
        for watch, path in list(self._paths.items()):
            if path in tops or not tops.isdisjoint(path.parents):
                self._inotify.remove(watch)
                del self._paths[watch]
