"""How near real processes are to their limit of open files."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jelmore_runner.open_files import OpenFiles, open_files


@pytest.fixture
def near() -> Iterator[int]:
    """The pid of a process with 60 open files of the 64 that it may have."""
    limited = "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)); "
    program = limited + "kept = [open('/dev/null') for _ in range(57)]; print(flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
        process.kill()


def test_the_process_nearest_to_its_limit_counts(near: int, tmp_path: Path) -> None:
    for pids in ([near, os.getpid()], [os.getpid(), near], [2**22 + 1, near]):
        assert open_files(pids, 10, tmp_path) == OpenFiles(60, 64)


def test_what_cannot_be_read_is_not_known(near: int, tmp_path: Path) -> None:
    assert open_files([], 10, tmp_path) == OpenFiles()
    assert open_files([2**22 + 1], 10, tmp_path) == OpenFiles(), "a process that has ended"
    assert open_files([near], -1, tmp_path) == OpenFiles(), "no time left"
    assert open_files([near], 10, tmp_path / "absent") == OpenFiles()
