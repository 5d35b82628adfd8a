"""Reports activity in the workspace's git repositories, read from their files without running git.

A repository is identified by its git directory: `.git` of a clone, `.git/worktrees/NAME` of a linked worktree,
`.git/modules/NAME` of a submodule. All reads go through `safe_files` because the agent controls these files.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any, Final

from jelmore_runner.git_positions import GitPositions
from jelmore_runner.safe_files import file_size_below, read_file_below, text_of

MAX_PER_REPORT: Final = 50
MAX_LOG_BYTES: Final = 256 * 1024
MAX_REFERENCE_BYTES: Final = 4096
MAX_PACKED_BYTES: Final = 4 * 1024 * 1024
MAX_REPOSITORIES: Final = 500
MAX_DEPTH: Final = 12
SCAN_S: Final = 5.0
SKIPPED: Final = frozenset({"node_modules", ".venv", "__pycache__"})
_RECORDS: Final = {("HEAD",), ("logs", "HEAD"), ("packed-refs",)}


def is_git_record(path: PurePath) -> bool:
    """Return whether a change of `path`, inside a `.git`, may mean activity and not only git's housekeeping."""
    return git_directory_of(path) is not None


def git_directory_of(path: PurePath) -> PurePath | None:
    """Return the git directory if `path` is one of its records, else None."""
    parts = path.parts
    if ".git" not in parts or path.name.endswith(".lock"):
        return None
    at = parts.index(".git") + 1
    for end in range(at, len(parts)):
        inside = parts[end:]
        if (inside in _RECORDS or inside[0] == "refs") and _is_directory_name(parts[at:end]):
            return PurePath(*parts[:end])
    return None


def _is_directory_name(inside: tuple[str, ...]) -> bool:
    """Return whether these parts below `.git` may be a git directory: none, a worktree or a (nested) submodule."""
    return not inside or (inside[0] in {"worktrees", "modules"} and len(inside) > 1)


class GitActivityReader:
    """Tracks how far each repository's log was read. Not thread-safe. Every call may block on small reads."""

    def __init__(self, workspace: Path, positions: GitPositions | None = None) -> None:
        self._workspace = workspace
        self._positions = positions
        self._seen: dict[PurePath, int] = {}
        self._shown: dict[PurePath, tuple[str | None, str | None]] = {}
        self._saved: dict[PurePath, int] | None = None
        self._began = False

    def remember_present(self, reported: Mapping[PurePath, int] | None = None) -> None:
        """Treat existing activity as reported; with `reported`, only up to these positions in the logs.

        A repository that `reported` does not know appeared since, so nothing of it is treated as reported.
        """
        for directory in self._git_directories():
            size = file_size_below(self._workspace, directory / "logs" / "HEAD") or 0
            if reported is None:
                self._seen[directory] = size
            elif directory in reported:
                self._seen[directory] = reported[directory]
            else:
                continue
            self._shown[directory] = self._head(directory)
        self._began = True

    def catch_up(self) -> list[dict[str, Any]]:
        """Return `git_activity` data, oldest first per repository, for the time without a watch.

        The first call of a run continues at the saved positions. Without any (the first run of a session), it treats
        existing activity as reported and returns nothing.
        """
        if not self._began:
            self.remember_present(self._positions.load() if self._positions else None)
        return [entry for directory in self._git_directories() for entry in self._changes(directory)]

    def save(self) -> None:
        """Save how far the logs were read, once that is journaled. Blocks on a small write."""
        if self._positions is not None and self._seen != self._saved:
            self._positions.save(self._seen)
            self._saved = dict(self._seen)

    def changes_of(self, path: Path) -> list[dict[str, Any]]:
        """Return `git_activity` data, oldest first, for new activity in the repository that has `path` as a record.

        At most `MAX_PER_REPORT` entries. `more` in the first one counts the older entries that are left out.
        """
        if not path.is_relative_to(self._workspace):
            return []
        directory = git_directory_of(path.relative_to(self._workspace))
        return [] if directory is None else self._changes(directory)

    def _changes(self, directory: PurePath) -> list[dict[str, Any]]:
        branch, head = self._head(directory)
        known = directory in self._shown
        if not known and len(self._shown) >= MAX_REPOSITORIES:
            return []
        lines, unread_bytes = self._new_log_lines(directory)
        before, self._shown[directory] = self._shown.get(directory), (branch, head)
        entries = [self._entry(directory, operation, branch, new) for new, operation in lines[-MAX_PER_REPORT:]]
        if entries and (len(lines) > MAX_PER_REPORT or unread_bytes):
            mean_bytes = max(unread_bytes and MAX_LOG_BYTES // max(len(lines), 1), 1)
            entries[0]["more"] = len(lines) - len(entries) + unread_bytes // mean_bytes
        if not entries and not known and (branch or head):
            entries = [self._entry(directory, "init", branch, head)]
        elif not entries and known and before != (branch, head):
            entries = [self._entry(directory, "checkout", branch, head)]
        return entries

    def _new_log_lines(self, directory: PurePath) -> tuple[list[tuple[str, str]], int]:
        """Return the new entries of the log and how many bytes were skipped unread."""
        log = directory / "logs" / "HEAD"
        size, begin = file_size_below(self._workspace, log) or 0, self._seen.get(directory, 0)
        if size < begin:
            begin = 0
        start = max(begin, size - MAX_LOG_BYTES)
        content = read_file_below(self._workspace, log, size - start, start=start)
        if content is None:
            return [], 0
        self._seen[directory] = size
        lines = content.decode("utf-8", "replace").splitlines()
        return [parsed for line in lines if (parsed := _log_line(line))], start - begin

    def _entry(self, directory: PurePath, operation: str, branch: str | None, head: str | None) -> dict[str, Any]:
        place = text_of(str(self._repository(directory)))
        return {"op": operation, "branch": branch, "head": head, "repository": place}

    def _repository(self, directory: PurePath) -> PurePath:
        """Return the folder of a git directory's working tree, relative to the workspace if it is inside."""
        parts = directory.parts
        at = parts.index(".git")
        outer = PurePath(*parts[:at]) if at else PurePath()
        inside = parts[at + 1 :]
        if inside[:1] == ("modules",):
            return outer / PurePath(*inside[1:])  # git names a submodule after its path
        if inside[:1] == ("worktrees",):
            text = _text(read_file_below(self._workspace, directory / "gitdir", MAX_REFERENCE_BYTES))
            place = Path(text or "").parent
            return place.relative_to(self._workspace) if place.is_relative_to(self._workspace) else PurePath(inside[1])
        return outer

    def _head(self, directory: PurePath) -> tuple[str | None, str | None]:
        text = _text(read_file_below(self._workspace, directory / "HEAD", MAX_REFERENCE_BYTES))
        if text is None:
            return None, None
        if not text.startswith("ref: "):
            return None, text if _is_commit(text) else None
        reference = PurePath(text.removeprefix("ref: ").strip())
        branch = str(reference).removeprefix("refs/heads/")
        for place in (directory, self._common(directory)):
            commit = _text(read_file_below(self._workspace, place / reference, MAX_REFERENCE_BYTES))
            if commit is not None and _is_commit(commit):
                return branch, commit
        return branch, self._packed(self._common(directory), str(reference))

    def _common(self, directory: PurePath) -> PurePath:
        """Return the git directory that holds the references. A worktree shares those of its clone."""
        parts = directory.parts
        if "worktrees" in parts[parts.index(".git") :]:
            return PurePath(*parts[: len(parts) - 1 - parts[::-1].index("worktrees")])
        return directory

    def _packed(self, directory: PurePath, reference: str) -> str | None:
        content = read_file_below(self._workspace, directory / "packed-refs", MAX_PACKED_BYTES) or b""
        for line in content.decode("utf-8", "replace").splitlines():
            commit, _, name = line.strip().partition(" ")
            if name == reference and _is_commit(commit):
                return commit
        return None

    def _git_directories(self) -> list[PurePath]:
        """Return the git directories in the workspace, within limits of time, depth and number."""
        found: list[PurePath] = []
        until = time.monotonic() + SCAN_S
        try:
            for top, folders, names, _ in os.fwalk(self._workspace, follow_symlinks=False):
                here = PurePath(top).relative_to(self._workspace)
                if ".git" in here.parts and "HEAD" in names and git_directory_of(here / "HEAD") == here:
                    found.append(here)
                if len(here.parts) >= MAX_DEPTH:
                    folders.clear()
                skipped = SKIPPED | ({"objects", "refs", "logs", "hooks"} if ".git" in here.parts else set())
                folders[:] = [name for name in folders if name not in skipped]
                if len(found) >= MAX_REPOSITORIES or time.monotonic() > until:
                    break
        except OSError:
            return found
        return found


def _log_line(line: str) -> tuple[str, str] | None:
    """Return the new commit and the operation of a reflog line: `OLD NEW NAME <MAIL> TIME ZONE<tab>OPERATION: …`."""
    record, tab, message = line.partition("\t")
    words = record.split(" ")
    if not tab or len(words) < 2 or not _is_commit(words[1]):  # noqa: PLR2004 - the old and the new commit
        return None
    return words[1], message.partition(":")[0].split(" ")[0][:64] or "update"


def _is_commit(text: str) -> bool:
    """Return whether this is an object name (SHA-1 or SHA-256). Other content of such files is never published."""
    return len(text) in {40, 64} and all(letter in "0123456789abcdef" for letter in text)


def _text(content: bytes | None) -> str | None:
    return None if content is None else content.decode("utf-8", "replace").strip() or None
