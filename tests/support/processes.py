"""What tests do to the processes of servers that they started."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jelmore.embedded import Service

_STOP_S: Final = 10.0


@contextmanager
def frozen(server: Service) -> Iterator[None]:
    """Stop every process of the server for the block, without ending it."""
    assert server.pid
    processes = [server.pid, *descendants(server.pid)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        for process in processes:
            _wait_until_stopped(process)
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """Stop one process for the block, without ending it."""
    os.kill(process, signal.SIGSTOP)
    try:
        _wait_until_stopped(process)
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGCONT)


def _wait_until_stopped(process: int) -> None:
    """On a busy machine the threads of a process run on for a while after SIGSTOP was sent."""
    end = time.monotonic() + _STOP_S
    while not all(_state(task) in {"T", "Z", "X"} for task in Path(f"/proc/{process}/task").iterdir()):
        assert time.monotonic() < end, f"process {process} was not stopped within {_STOP_S} s"
        time.sleep(0.001)


def _state(task: Path) -> str:
    try:
        return (task / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:  # it has ended
        return "X"


def descendants(parent: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def alive(process: int) -> bool:
    """Return whether the process runs; one that has ended and waits for its parent does not."""
    return _state(Path(f"/proc/{process}")) not in {"Z", "X"}
