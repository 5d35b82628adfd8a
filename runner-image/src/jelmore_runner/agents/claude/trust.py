"""Sets whether Claude Code trusts the workspace: only then do allow rules of a repository count.

Claude Code keeps this in a file of its own, which the agent may write too. So it is written before every start.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from jelmore_runner.safe_files import read_file_below, replace_file_below

CONFIG: Final = PurePath(".claude/.claude.json")
MAX_BYTES: Final = 4 * 1024 * 1024


def set_trust(home: Path, folders: Sequence[Path], *, trusted: bool) -> None:
    """Record for `folders` whether they are trusted; no other folder is. Blocks. May run any number of times.

    Raises OSError when the file cannot be written.
    """
    config = _read(home)
    projects = config.get("projects")
    known = projects if isinstance(projects, dict) else {}
    kept: dict[str, dict[str, Any]] = {name: each for name, each in known.items() if isinstance(each, dict)}
    changed = {name: {**each, "hasTrustDialogAccepted": False} for name, each in kept.items()}
    if trusted:
        for folder in folders:
            path = os.path.realpath(folder)
            changed[path] = {**changed.get(path, {}), "hasTrustDialogAccepted": True}
    if changed != kept:
        replace_file_below(home, CONFIG, json.dumps({**config, "projects": changed}).encode())


def _read(home: Path) -> dict[str, Any]:
    content = read_file_below(home, CONFIG, MAX_BYTES)
    try:
        config = json.loads(content) if content else {}
    except (ValueError, RecursionError):
        return {}
    return config if isinstance(config, dict) else {}
