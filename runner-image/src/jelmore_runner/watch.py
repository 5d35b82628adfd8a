"""Watches the workspace for changes that no hook reports: files changed by commands, and git activity."""

import asyncio
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jelmore_protocol.events import EventKind
from jelmore_runner.conversation import Conversation
from jelmore_runner.file_notes import FileNotes
from jelmore_runner.git_notes import GitNotes, is_git_record
from jelmore_runner.safe_files import is_directory_beneath

if TYPE_CHECKING:
    from watchfiles import Change

DEBOUNCE_MS: Final = 800  # longer than a hook takes to report the same change
STEP_MS: Final = 200
MAX_FOUND: Final = 1_000
MAX_DEPTH: Final = 40
IGNORED: Final = frozenset(
    {".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".cache"}
)
_WORDS: Final = {1: "created", 2: "modified", 3: "deleted"}


async def watch_workspace(session: Conversation, files: FileNotes, git: GitNotes) -> None:
    """Journal changes until cancelled. `git` remembers what was reported before a failure.

    Raises the errors of the watching library: the supervisor restarts it.
    """
    from watchfiles import awatch

    workspace = files.workspace
    for data in await asyncio.to_thread(git.catch_up):
        session.note(EventKind.GIT_ACTIVITY, data)
    async for changes in awatch(
        workspace,
        watch_filter=lambda change, path: _concerns(change, path) and not leads_out(workspace, path),
        debounce=DEBOUNCE_MS,
        step=STEP_MS,
        ignore_permission_denied=True,
    ):
        await _journal(session, files, git, changes)


def leads_out(workspace: Path, path: str) -> bool:
    """Return whether `path` is outside of the workspace or reached through a link, which the watching library follows.

    A removed folder is not a link: its changes are still reported.
    """
    place = Path(path)
    if not place.is_relative_to(workspace):
        return True
    folders = place.relative_to(workspace).parts[:-1]
    at = workspace
    for name in folders:
        at = at / name
        if at.is_symlink():
            return True
    return False


async def _journal(
    session: Conversation, files: FileNotes, git: GitNotes, changes: "AbstractSet[tuple[Change, str]]"
) -> None:
    paths = sorted({(path, _WORDS[change]) for change, path in changes})
    files.by_file_system(change for change in paths if ".git" not in Path(change[0]).parts)
    files.by_look(await asyncio.to_thread(_in_new_directories, files.workspace, paths))
    records = sorted({path for path, _ in paths if ".git" in Path(path).parts})
    for data in await asyncio.to_thread(_git_changes, git, records):
        session.note(EventKind.GIT_ACTIVITY, data)


def _git_changes(git: GitNotes, records: list[str]) -> list[dict[str, Any]]:
    return [data for record in records for data in git.changes_of(Path(record))]


def _in_new_directories(workspace: Path, changes: list[tuple[str, str]]) -> list[str]:
    """Return the files of new directories, because the library misses files created before it watches a directory."""
    shown, found = {path for path, _ in changes}, list[str]()
    for made in [path for path, word in changes if word == "created"]:
        if not is_directory_beneath(workspace, Path(made).relative_to(workspace)):
            continue
        for top, folders, names, _ in os.fwalk(made, follow_symlinks=False):
            if len(Path(top).parts) - len(workspace.parts) > MAX_DEPTH:
                folders.clear()  # each level holds a descriptor open
            folders[:] = [name for name in folders if name not in IGNORED]
            inside = [str(Path(top) / name) for name in names]
            found += [path for path in inside if path not in shown and _concerns(None, path)]
            if len(found) > MAX_FOUND:
                return found
    return found


def _concerns(_: "Change | None", path: str) -> bool:
    place = Path(path)
    if ".git" in place.parts:
        return is_git_record(place)
    return not IGNORED.intersection(place.parts) and not place.name.endswith((".swp", "~", ".pyc"))
