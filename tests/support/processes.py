"""What tests do to the processes of servers that they started."""

import contextlib
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jelmore.embedded import Service


@contextmanager
def frozen(server: Service) -> Iterator[None]:
    """Stop every process of the server for the block, without ending it."""
    assert server.pid
    processes = [server.pid, *descendants(server.pid)]
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)


def descendants(parent: int) -> list[int]:
    """Return the children of a process, their children, and so on."""
    found: list[int] = []
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *descendants(child)]
    return found


def alive(process: int) -> bool:
    """Return whether the process runs; one that has ended and waits for its parent does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
