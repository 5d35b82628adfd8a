"""Reads memory and process counts from the sandbox's control group, in both kernel layouts (cgroup v1 and v2)."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path("/sys/fs/cgroup")
NO_LIMIT: Final = 2**60
"""cgroup v1 reports the largest multiple of a page when there is no limit."""


@dataclass(frozen=True, slots=True)
class GroupUse:
    """Use and limits. None where there is no limit: the group is then not the sandbox's own."""

    memory_bytes: int | None = None
    memory_limit_bytes: int | None = None
    pids: int | None = None
    pids_limit: int | None = None


def group_use(root: Path = ROOT) -> GroupUse:
    """Return the current values; None for those that cannot be read. Takes well below a millisecond."""
    memory, pids = root / "memory", root / "pids"
    if (root / "cgroup.controllers").exists():
        limit = _number(root / "memory.max")
        used = _without_cache(_number(root / "memory.current"), root / "memory.stat", "inactive_file")
        most, count = _number(root / "pids.max"), _number(root / "pids.current")
    else:
        limit = _number(memory / "memory.limit_in_bytes")
        used = _without_cache(_number(memory / "memory.usage_in_bytes"), memory / "memory.stat", "total_inactive_file")
        most, count = _number(pids / "pids.max"), _number(pids / "pids.current")
    return GroupUse(
        memory_bytes=used if limit is not None else None,
        memory_limit_bytes=limit,
        pids=count if most is not None else None,
        pids_limit=most,
    )


def _number(path: Path) -> int | None:
    """Return the number in a file; None when there is none, or when it means that there is no limit."""
    try:
        number = int(path.read_text(encoding="ascii"))
    except (OSError, ValueError):  # cgroup v2 writes `max` for no limit
        return None
    return number if number < NO_LIMIT else None


def _without_cache(used: int | None, stat: Path, name: str) -> int | None:
    """Return the use without the file pages that the kernel drops first: copying a file does not use up memory."""
    if used is None:
        return None
    try:
        lines = stat.read_text(encoding="ascii").splitlines()
    except OSError:
        return used
    cached = next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), 0)
    return max(0, used - cached)
