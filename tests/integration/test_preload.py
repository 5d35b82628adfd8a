"""A manager that is killed is replaced by a fork of a process that has its code loaded."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import IO

import pytest

from tests.support.processes import alive, descendants
from tests.support.stack import wait_for

_PROGRAM = """
import os, signal, sys
from jelmore import preload

def serve():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
    print(os.getpid(), flush=True)
    if len(sys.argv) > 1:
        return int(sys.argv[1])
    signal.pause()

def served():
    try:
        return serve()
    except SystemExit as error:
        return error.code

sys.exit(preload.run(served))
"""


class _Parent:
    """The process that forks. Its children print their pids."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen([sys.executable, "-c", _PROGRAM, *arguments], stdout=subprocess.PIPE)

    def next_child(self) -> int:
        """Return the pid of the next child that serves."""
        output: IO[bytes] | None = self.process.stdout
        assert output is not None
        return next(int(line) for line in output if line.strip().isdigit())  # the parent logs between them

    def close(self) -> None:
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def parent() -> Iterator[_Parent]:
    started = _Parent()
    yield started
    started.close()


def test_a_child_that_is_killed_is_replaced(parent: _Parent) -> None:
    first = parent.next_child()
    os.kill(first, signal.SIGKILL)
    second = parent.next_child()
    assert second != first
    assert alive(second)
    assert not alive(first)
    assert parent.process.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_request_to_end_reaches_the_child_and_its_status_is_returned(parent: _Parent, number: signal.Signals) -> None:
    child = parent.next_child()
    parent.process.send_signal(number)
    assert parent.process.wait(10) == 7
    assert not alive(child)


def test_the_child_dies_with_its_parent(parent: _Parent) -> None:
    child = parent.next_child()
    parent.process.kill()
    parent.process.wait(10)
    wait_for(lambda: not alive(child), seconds=10, what="the end of the child")


def test_a_request_to_end_during_the_pause_after_two_deaths_ends_it(parent: _Parent) -> None:
    for _ in range(3):
        os.kill(parent.next_child(), signal.SIGKILL)
    wait_for(lambda: not descendants(parent.process.pid), seconds=10, what="the pause")
    parent.process.terminate()
    assert parent.process.wait(10) in {0, 7}


def test_a_child_that_ends_by_itself_ends_its_parent() -> None:
    failed = _Parent("3")
    try:
        failed.next_child()
        assert failed.process.wait(10) == 3
    finally:
        failed.close()
