"""Checks Claude Code's transcript for damage before a resume, without following links or opening the agent's files.

Without this check, Claude Code would block forever on a FIFO, or read a link to a device until memory runs out.
"""

import os
import stat
from pathlib import Path
from typing import Final

MAX_PROJECTS: Final = 1_000
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def damage(home: Path, conversation_id: str) -> str | None:
    """Return what is wrong with the conversation's transcript; None if it is intact or cannot be found."""
    opened: list[int] = []
    try:
        opened.append(os.open(home, _FOLDER))
        for name in (".claude", "projects"):
            opened.append(os.open(name, _FOLDER, dir_fd=opened[-1]))
        return _damage_below(opened[-1], f"{conversation_id}.jsonl")
    except OSError:
        return None  # Claude Code itself reports that it finds no conversation
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _damage_below(projects: int, name: str) -> str | None:
    with os.scandir(projects) as entries:
        folders = [entry.name for entry, _ in zip(entries, range(MAX_PROJECTS), strict=False)]
    for folder in folders:
        try:
            descriptor = os.open(folder, _FOLDER, dir_fd=projects)
        except OSError:
            continue
        try:
            status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        except OSError:
            continue
        finally:
            os.close(descriptor)
        return _fault(status)
    return None


def _fault(status: os.stat_result) -> str | None:
    if not stat.S_ISREG(status.st_mode):
        return "its transcript is no regular file"
    if status.st_size == 0:
        return "its transcript is empty"
    if not status.st_mode & stat.S_IRUSR:
        return "its transcript cannot be read"
    return None
