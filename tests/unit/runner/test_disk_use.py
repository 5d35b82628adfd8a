"""Sizes of real folders, and control groups in both layouts."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from jelmore_runner.control_group import GroupUse, group_use
from jelmore_runner.disk_use import disk_use

MIB = 2**20


def fill(path: Path, mebibytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * mebibytes * MIB)


def test_blocks_are_counted_once_and_links_never_followed(tmp_path: Path) -> None:
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    fill(outside / "big", 8)
    fill(inside / "a" / "b" / "one", 2)
    fill(inside / "two", 1)
    os.link(inside / "two", inside / "a" / "two-again")
    (inside / "way-out").symlink_to(outside)
    (inside / "round").symlink_to(inside)
    with (inside / "sparse").open("wb") as file:
        file.truncate(1024 * MIB)
    used = disk_use([inside, tmp_path / "absent"], 10)
    assert used.whole
    assert 3 * MIB <= used.bytes < 4 * MIB
    assert used.files == 8, "a file with two names is one"


def test_out_of_time_it_returns_a_lower_bound(tmp_path: Path) -> None:
    fill(tmp_path / "file", 1)
    used = disk_use([tmp_path], -1)
    assert not used.whole
    assert used.bytes < MIB


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_files_are_seen_with_the_eyes_of_the_folders_owner(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        home = Path(open_to_all) / "home"
        home.parent.chmod(0o755)
        fill(home / "private" / "file", 2)
        for path in (home, home / "private"):
            os.chown(path, 65534, 65534)
            path.chmod(0o700)
        used = disk_use([home], 10)
        assert used.whole
        assert used.bytes >= 2 * MIB
        os.chown(home / "private", 0, 0)  # now closed to the owner of home, though not to this process
        used = disk_use([home], 10)
        assert not used.whole
        assert used.bytes < MIB
        assert disk_use([home / "private"], 10).bytes >= 2 * MIB  # this thread has its own eyes back


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_first_layout_of_control_groups(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "memory/memory.limit_in_bytes": "1000\n",
            "memory/memory.usage_in_bytes": "900\n",
            "memory/memory.stat": "cache 700\ninactive_file 1\ntotal_inactive_file 600\n",
            "pids/pids.max": "64\n",
            "pids/pids.current": "7\n",
            "cpu/cpu.cfs_quota_us": "150000\n",
            "cpu/cpu.cfs_period_us": "100000\n",
            "cpuacct/cpuacct.usage": "2000000999\n",
            "memory/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n",
        },
    )
    assert group_use(root) == GroupUse(300, 1000, 7, 64, 2_000_000, 1500, 2)


def test_the_second_layout_of_control_groups(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        {
            "cgroup.controllers": "memory pids\n",
            "memory.max": "1000\n",
            "memory.current": "900\n",
            "memory.stat": "anon 100\ninactive_file 600\n",
            "pids.max": "64\n",
            "pids.current": "7\n",
            "cpu.max": "50000 100000\n",
            "cpu.stat": "usage_usec 2000000\nuser_usec 1\n",
            "memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 0\n",
        },
    )
    assert group_use(root) == GroupUse(300, 1000, 7, 64, 2_000_000, 500, 2)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"memory/memory.limit_in_bytes": "9223372036854771712\n", "memory/memory.usage_in_bytes": "900\n"},
        {"cgroup.controllers": "", "memory.max": "max\n", "memory.current": "900\n", "pids.max": "max\n"},
        {"cgroup.controllers": "", "memory.max": "nonsense\n"},
        {
            "cgroup.controllers": "",
            "cpu.max": "max 100000\n",
            "cpu.stat": "usage_usec 5\n",
            "memory.events": "oom_kill 1\n",
        },
        {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n", "cpuacct/cpuacct.usage": "5\n"},
    ],
)
def test_without_a_limit_nothing_is_reported(tmp_path: Path, files: dict[str, str]) -> None:
    assert group_use(write(tmp_path, files)) == GroupUse()


def test_a_nameless_open_file_counts(tmp_path: Path) -> None:
    before = disk_use([tmp_path], 5).bytes
    with (tmp_path / "hidden").open("wb") as file:
        file.write(b"x" * 300_000)
        file.flush()
        (tmp_path / "hidden").unlink()
        assert disk_use([tmp_path], 5).bytes == before
        assert disk_use([tmp_path], 5, [os.getpid()]).bytes >= before + 300_000


def test_a_nameless_file_that_is_only_mapped_counts(tmp_path: Path) -> None:
    code = """
import mmap, os, sys
path = sys.argv[1]
with open(path, "wb+") as file:
    file.write(b"x" * 8_000_000)
    file.flush()
    mapped = mmap.mmap(file.fileno(), 0)
os.unlink(path)
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2:  # the map has a descriptor of its own
        try:
            os.close(int(name))
        except OSError:
            pass
print(len(os.listdir("/proc/self/fd")), flush=True)
sys.stdin.read()
"""
    command = [sys.executable, "-c", code, str(tmp_path / "hidden")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "4"
        assert disk_use([tmp_path], 10, [process.pid]).bytes >= 8_000_000
        assert disk_use([tmp_path], 10, [process.pid, process.pid]).bytes < 9_000_000, "once"
        process.communicate("")


def test_what_lies_beyond_the_longest_path_counts(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_DIRECTORY)
    for _ in range(40):
        os.mkdir("d" * 200, dir_fd=descriptor)
        below = os.open("d" * 200, os.O_DIRECTORY, dir_fd=descriptor)
        os.close(descriptor)
        descriptor = below
    deep = os.open("big", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=descriptor)
    os.write(deep, b"x" * 300_000)
    os.close(deep)
    os.close(descriptor)
    used = disk_use([tmp_path], 5)
    assert used.bytes >= 300_000
    assert used.whole


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100, 0o200])
def test_closed_folders_count_and_stay_closed(mode: int) -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        home = Path(open_to_all) / "home"
        home.parent.chmod(0o755)
        fill(home / "a" / "b" / "file", 2)
        fill(home / "a" / "file", 1)
        fill(home / "other" / "file", 1)
        closed = [home / "a" / "b", home / "a"]
        for path in (*closed, home / "other", home):
            os.chown(path, 65534, 65534)
        for path in closed:
            path.chmod(mode)
        used = disk_use([home], 10)
        assert used.whole
        assert used.bytes >= 4 * MIB
        assert [path.stat().st_mode & 0o777 for path in closed] == [mode, mode]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_closed_folder_beyond_the_longest_path_counts() -> None:
    with tempfile.TemporaryDirectory() as open_to_all:
        home = Path(open_to_all)
        os.chown(home, 65534, 65534)
        descriptor = os.open(home, os.O_DIRECTORY)
        for level in range(40):
            os.mkdir("d" * 200, dir_fd=descriptor)
            os.chown("d" * 200, 65534, 65534, dir_fd=descriptor)
            below = os.open("d" * 200, os.O_DIRECTORY, dir_fd=descriptor)
            if level in (10, 39):
                os.fchmod(below, 0)
            os.close(descriptor)
            descriptor = below
        hidden = os.open("big", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=descriptor)
        os.write(hidden, b"x" * 300_000)
        os.close(hidden)
        used = disk_use([home], 5)
        assert used.whole
        assert used.bytes >= 300_000
        assert os.fstat(descriptor).st_mode & 0o777 == 0
        os.close(descriptor)
