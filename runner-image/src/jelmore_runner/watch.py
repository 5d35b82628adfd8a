"""Watches the workspace for changes that no hook reports: files changed by commands, and git activity."""

import asyncio
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path, PurePath
from typing import Any, Final

from jelmore_protocol.events import EventKind
from jelmore_runner.conversation import Conversation
from jelmore_runner.directory_watches import SKIPPED, Changes, DirectoryWatches
from jelmore_runner.file_changes import FileChangeReporter
from jelmore_runner.git_activity import GitActivityReader, is_git_record

DEBOUNCE_S: Final = 0.8  # longer than a hook takes to report the same change
STEP_S: Final = 0.2
CODE: Final = "watch_limited"


async def watch_workspace(conversation: Conversation, files: FileChangeReporter, git: GitActivityReader) -> None:
    """Journal changes until cancelled. `git` remembers what was reported before a failure.

    Raises OSError when the workspace cannot be watched: the supervisor starts it again.
    """
    with closing(DirectoryWatches(files.workspace)) as watches:
        await asyncio.to_thread(watches.add_below, PurePath())
        await _report(conversation, git, await asyncio.to_thread(git.catch_up))
        limited = None
        while True:
            if watches.limited != limited and limited is None:  # said once
                limited = watches.limited
                conversation.error(CODE, f"{limited}; file and git activity in the others is not reported")
            await _journal(conversation, files, git, await _next(watches))


async def _next(watches: DirectoryWatches) -> Changes:
    """Return the next changes, once nothing more changes for `STEP_S` or after `DEBOUNCE_S`."""
    await watches.readable()
    changes, loop = Changes(), asyncio.get_running_loop()
    until = loop.time() + DEBOUNCE_S
    with suppress(TimeoutError):
        while True:
            await asyncio.to_thread(watches.take, changes)
            async with asyncio.timeout(max(min(STEP_S, until - loop.time()), 0)):
                await watches.readable()
    return changes


async def _journal(
    conversation: Conversation, files: FileChangeReporter, git: GitActivityReader, changes: Changes
) -> None:
    words = {path: word for path, word in sorted(changes.words.items()) if _concerns(path)}
    shown = [(str(files.workspace / path), word) for path, word in words.items() if ".git" not in path.parts]
    if changes.missed:
        shown.append((str(files.workspace), "modified"))
    files.by_file_system(shown)
    found = [path for path in changes.found if path not in words and _concerns(path)]
    files.by_scan(str(files.workspace / path) for path in found if ".git" not in path.parts)
    records = {path for path in (*words, *found) if ".git" in path.parts}
    if records or changes.missed:
        found_by_git = asyncio.to_thread(_git_changes, git, files.workspace, records, all_of_them=changes.missed)
        await _report(conversation, git, await found_by_git)


async def _report(conversation: Conversation, git: GitActivityReader, activity: list[dict[str, Any]]) -> None:
    """Journal git activity, then save how far it is reported: after a crash in between it is reported again."""
    for data in activity:
        conversation.note(EventKind.GIT_ACTIVITY, data)
    if activity:
        await conversation.journal.durable(conversation.journal.last)
    await asyncio.to_thread(git.save)


def _git_changes(
    git: GitActivityReader, workspace: Path, records: Iterable[PurePath], *, all_of_them: bool
) -> list[Any]:
    if all_of_them:
        return git.catch_up()
    return [data for record in sorted(records) for data in git.changes_of(workspace / record)]


def _concerns(path: PurePath) -> bool:
    if ".git" in path.parts:
        return is_git_record(path)
    return not SKIPPED.intersection(path.parts) and not path.name.endswith((".swp", "~", ".pyc"))
