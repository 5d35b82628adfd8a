"""Memory and processor time of processes, as the kernel counts them."""

import asyncio
import os
from pathlib import Path
from typing import Final

from tests.support.stack_quickstart import command, family

_TICKS: Final = os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int) -> float:
    """Return a process's proportional set size: what is shared counts for each in part. 0 when it has gone."""
    return _rolled_up_mib(pid, "Pss:")


def resident_mib(pid: int) -> float:
    """Return a process's resident set size: what is shared counts in full. 0 when it has gone."""
    return _rolled_up_mib(pid, "Rss:")


def private_mib(pid: int) -> float:
    """Return the memory of a process that no other one shares. 0 when it has gone."""
    return _rolled_up_mib(pid, "Private_Clean:") + _rolled_up_mib(pid, "Private_Dirty:")


def _rolled_up_mib(pid: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def processor_s(pid: int) -> float:
    """Return the processor time that a process has used. 0 when it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS


def runner_and_claude(container_pid: int) -> tuple[int, int]:
    """Return the pids, on this machine, of the runner and of Claude Code below a container's first process."""
    runner = claude = 0
    for pid in family(container_pid):
        words = command(pid)
        if "-m jelmore_runner" in words and "tini" not in words:
            runner = pid
        elif "/claude" in words and "--output-format" in words:
            claude = pid
    if not (runner and claude):
        raise LookupError(f"below {container_pid} is no runner with a Claude Code: {family(container_pid)}")
    return runner, claude


async def end(process: asyncio.subprocess.Process, *, within_s: float) -> None:
    """Ask a process to end, and kill it when it has not in time. May run twice."""
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
