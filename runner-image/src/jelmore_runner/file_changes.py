"""Reports which files changed, each change once: by the tool that wrote the file, else by the file system."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from jelmore_protocol.events import EventKind
from jelmore_runner.conversation import Conversation
from jelmore_runner.safe_files import text_of

SAME_CHANGE_S: Final = 3.0  # the file system reports a tool's write within this time
MAX_PER_REPORT: Final = 100  # unpacking an archive must not flood the journal
MAX_REMEMBERED: Final = 500


class FileChangeReporter:
    """Journals `file_modified`. Tools and file system may report a change in any order and more than once."""

    def __init__(self, conversation: Conversation, workspace: Path) -> None:
        self.workspace = workspace
        self._conversation = conversation
        self._reported: dict[str, float] = {}

    def by_tool(self, path: str, operation: str) -> None:
        """Report that a tool wrote `path`."""
        self._remember(path)
        self._record(path, operation, "tool")

    def by_file_system(self, changes: Iterable[tuple[str, str]]) -> None:
        """Report (path, operation) changes seen in the file system. One entry counts those over `MAX_PER_REPORT`."""
        now = asyncio.get_running_loop().time()
        fresh = [change for change in changes if now - self._reported.get(change[0], -SAME_CHANGE_S) >= SAME_CHANGE_S]
        for path, operation in fresh[:MAX_PER_REPORT]:
            self._record(path, operation, "filesystem")
        if len(fresh) > MAX_PER_REPORT:
            self._conversation.note(
                EventKind.FILE_MODIFIED,
                {"path": ".", "op": "modified", "source": "filesystem", "more": len(fresh) - MAX_PER_REPORT},
            )

    def by_scan(self, paths: Iterable[str]) -> None:
        """Report the files of a new directory as created. The file system may report them later, or never."""
        found = list(paths)
        self.by_file_system((path, "created") for path in found)
        for path in found[:MAX_PER_REPORT]:
            self._remember(path)

    def _remember(self, path: str) -> None:
        if len(self._reported) >= MAX_REMEMBERED:
            self._reported.pop(next(iter(self._reported)))
        self._reported[path] = asyncio.get_running_loop().time()

    def _record(self, path: str, operation: str, source: str) -> None:
        place = Path(path)
        shown = str(place.relative_to(self.workspace)) if place.is_relative_to(self.workspace) else path
        self._conversation.note(EventKind.FILE_MODIFIED, {"path": text_of(shown), "op": operation, "source": source})
