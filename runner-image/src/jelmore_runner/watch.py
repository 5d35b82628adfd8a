"""Watches the workspace for what no hook tells: files changed by commands, and git's own records."""

import asyncio
import os
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Final

from jelmore_protocol.events import EventKind
from jelmore_runner.conversation import Conversation
from jelmore_runner.file_notes import FileNotes
from jelmore_runner.git_notes import GitNotes, is_git_record, repository_of

if TYPE_CHECKING:
    from watchfiles import Change

DEBOUNCE_MS: Final = 800  # longer than a hook takes to report the same change
STEP_MS: Final = 200
MAX_FOUND: Final = 1_000
IGNORED: Final = frozenset(
    {".git", "node_modules", "__pycache__", ".venv", ".mypy_cache", ".pytest_cache", ".ruff_cache", ".tox", ".cache"}
)
_WORDS: Final = {1: "created", 2: "modified", 3: "deleted"}


async def watch_workspace(session: Conversation, files: FileNotes) -> None:
    """Journal changes until cancelled. Where watching is not possible, say so once and go without."""
    from watchfiles import awatch

    git = GitNotes(files.workspace)
    try:
        await asyncio.to_thread(git.remember_present)
        async for changes in awatch(
            files.workspace,
            watch_filter=_concerns,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            ignore_permission_denied=True,
        ):
            await _tell(session, files, git, changes)
    except (OSError, RuntimeError) as error:
        session.error("watch_unavailable", f"changes in the workspace are no longer seen: {error}"[:500])


async def _tell(
    session: Conversation, files: FileNotes, git: GitNotes, changes: "AbstractSet[tuple[Change, str]]"
) -> None:
    paths = sorted({(path, _WORDS[change]) for change, path in changes})
    files.by_file_system(change for change in paths if ".git" not in Path(change[0]).parts)
    files.by_look(await asyncio.to_thread(_in_new_directories, paths))
    for repository in sorted({repository_of(Path(path)) for path, _ in paths if ".git" in Path(path).parts}):
        for data in await asyncio.to_thread(git.look, repository):
            session.note(EventKind.GIT_ACTIVITY, data)


def _in_new_directories(changes: list[tuple[str, str]]) -> list[str]:
    """Return the files of directories that were just made: what came before the watch, nobody says."""
    shown, found = {path for path, _ in changes}, list[str]()
    for made in [path for path, word in changes if word == "created" and not Path(path).is_symlink()]:
        for top, folders, names in os.walk(made):
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
