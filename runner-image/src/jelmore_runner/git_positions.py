"""Keeps on disk how far each repository's log was reported, so that a new run reports what came without a runner.

The file is in the runner's own folder, which the agent cannot read or write.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Final

MAX_BYTES: Final = 1024 * 1024


class GitPositions:
    """Loads and saves positions: git directory, relative to the workspace, to bytes of its log. Calls block."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> dict[PurePath, int] | None:
        """Return the saved positions; None when there are none, or none that can be read."""
        try:
            with self._path.open("rb") as file:
                found = json.loads(file.read(MAX_BYTES))
        except (OSError, ValueError):
            return None
        if not isinstance(found, dict):
            return None
        return {PurePath(name): size for name, size in found.items() if isinstance(size, int) and size >= 0}

    def save(self, positions: Mapping[PurePath, int]) -> None:
        """Replace the saved positions. A failure is ignored: some activity may then be reported again."""
        text = json.dumps({str(directory): size for directory, size in positions.items()})
        if len(text) > MAX_BYTES:
            return
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            fresh.write_text(text)
            os.replace(fresh, self._path)  # noqa: PTH105 - the atomic call, by its own name
        except OSError:
            return
