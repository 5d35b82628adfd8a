"""How near a process of the agent is to its limit of open files. Reaching it is an error that only the process sees."""

import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jelmore_runner.disk_use import rights_of

_SOFT_LIMIT: Final = re.compile(rb"^Max open files +(\d+) ", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """The open files of the process that is nearest to its limit, and that limit. None: no process could be read."""

    open_files: int | None = None
    open_files_limit: int | None = None


def open_files(pids: Iterable[int], within_s: float, folder: Path) -> OpenFiles:
    """Return the open files of the one of `pids` that is nearest to its soft limit, as the folder's owner reads them.

    Blocks for up to about `within_s`: call it in a thread. Leaves out processes that have ended or do not let their
    owner read them, and those that come after the time is over. Without the folder it reads none.
    """
    until = time.monotonic() + within_s
    nearest = OpenFiles()
    try:
        owner = folder.stat(follow_symlinks=False)
    except OSError:
        return nearest
    with rights_of(owner.st_uid, owner.st_gid):
        for pid in pids:
            if time.monotonic() > until:
                break
            try:
                limit = _SOFT_LIMIT.search(Path(f"/proc/{pid}/limits").read_bytes())
                count = len(os.listdir(f"/proc/{pid}/fd")) if limit else 0  # noqa: PTH208 - names are all that is needed
            except OSError:
                continue
            if limit and (most := int(limit[1])) and _share(nearest) < count / most:
                nearest = OpenFiles(count, most)
    return nearest


def _share(use: OpenFiles) -> float:
    return use.open_files / use.open_files_limit if use.open_files is not None and use.open_files_limit else -1.0
