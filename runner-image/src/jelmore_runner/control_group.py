"""Reads what the sandbox's control group counts and limits, in both kernel layouts (cgroup v1 and v2)."""

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
    cpu_us: int | None = None  # processor time since the group was made, in microseconds
    cpu_limit_millis: int | None = None  # thousandths of a processor
    oom_kills: int | None = None  # since the group was made


def group_use(root: Path = ROOT) -> GroupUse:
    """Return the current values; None for those that cannot be read. Takes well below a millisecond."""
    memory, pids = root / "memory", root / "pids"
    if (root / "cgroup.controllers").exists():
        limit = _number(root / "memory.max")
        used = _without_cache(_number(root / "memory.current"), root / "memory.stat", "inactive_file")
        most, count = _number(root / "pids.max"), _number(root / "pids.current")
        quota, cpu_us = _quota(root / "cpu.max"), _named(root / "cpu.stat", "usage_usec")
        oom_kills = _named(root / "memory.events", "oom_kill")
    else:
        limit = _number(memory / "memory.limit_in_bytes")
        used = _without_cache(_number(memory / "memory.usage_in_bytes"), memory / "memory.stat", "total_inactive_file")
        most, count = _number(pids / "pids.max"), _number(pids / "pids.current")
        quota = _quota(root / "cpu" / "cpu.cfs_quota_us", root / "cpu" / "cpu.cfs_period_us")
        nanoseconds = _number(root / "cpuacct" / "cpuacct.usage")
        cpu_us = None if nanoseconds is None else nanoseconds // 1000
        oom_kills = _named(memory / "memory.oom_control", "oom_kill")
    return GroupUse(
        memory_bytes=used if limit is not None else None,
        memory_limit_bytes=limit,
        pids=count if most is not None else None,
        pids_limit=most,
        cpu_us=cpu_us if quota is not None else None,
        cpu_limit_millis=quota,
        oom_kills=oom_kills if limit is not None else None,
    )


def _quota(*paths: Path) -> int | None:
    """Return quota and period, of one file or of two, in thousandths of a processor; None without a quota."""
    try:
        quota, period = (int(word) for path in paths for word in path.read_text(encoding="ascii").split())
    except (OSError, ValueError):  # cgroup v2 writes `max` for no quota
        return None
    return quota * 1000 // period if quota > 0 and period > 0 else None


def _named(path: Path, name: str) -> int | None:
    """Return the number behind a name in a file of such lines; None when there is none."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)
    except (OSError, ValueError, IndexError):
        return None


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
