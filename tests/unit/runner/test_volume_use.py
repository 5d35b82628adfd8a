"""A volume's own file system counts what a walk cannot find."""

import array
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from jelmore_runner.disk_use import disk_use
from jelmore_runner.volume_use import has_own_file_system, volume_use

MIB = 2**20


@pytest.mark.parametrize(
    ("lines", "own"),
    [
        ("", False),
        ("30 1 254:0 / / rw - ext4 /dev/vda rw", False),
        ("31 30 254:0 /var/lib/docker/volumes/x/_data /session rw - ext4 /dev/vda rw", False),
        ("31 30 0:50 / /session rw - tmpfs tmpfs rw", True),
        ("31 30 0:50 / /sess\\040ion rw - tmpfs tmpfs rw", False),
        ("31 30 0:50 / /session rw - tmpfs tmpfs rw\n32 31 254:0 /data /session rw - ext4 /dev/vda rw", False),
        ("25 18 0:25 / /session rw - 9p none rw,trans=fd,directfs", False),  # gVisor shows the host's folder so
        ("31 30 0:50 / /session rw shared:3 master:1 - tmpfs tmpfs rw", True),
        ("31 30 0:50 / /session/workspace rw - tmpfs tmpfs rw\nshort", False),
    ],
)
def test_only_a_whole_file_system_at_the_volume_itself_counts(lines: str, own: bool) -> None:
    assert has_own_file_system("/session", lines) is own


def test_a_folder_of_a_shared_disk_has_no_figure(tmp_path: Path) -> None:
    assert volume_use([tmp_path / "workspace", tmp_path / "home"]) == 0


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "session"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, timeout=10, check=False).returncode:
        pytest.skip("only root may mount")
    yield place
    subprocess.run(["umount", str(place)], timeout=10, check=True)


def test_a_deleted_file_on_its_way_through_a_socket_counts(mounted: Path) -> None:
    """Nobody has it open: it exists only in the socket's buffer."""
    folders = [mounted / "workspace", mounted / "home"]
    for folder in folders:
        folder.mkdir()
    hidden = folders[0] / "hidden"
    hidden.write_bytes(b"x" * 8 * MIB)
    near, far = socket.socketpair()
    with near, far:
        descriptor = os.open(hidden, os.O_RDONLY)
        near.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))])
        os.close(descriptor)
        hidden.unlink()
        assert disk_use(folders, 5, [os.getpid()]).bytes < MIB
        assert volume_use(folders) >= 8 * MIB
