"""The run directory: closed to everybody else, because what is below it is open."""

import contextlib
import socket
import stat
from pathlib import Path

import pytest

from jelmore.drivers.paths import RunPaths, new_key
from jelmore.drivers.sandbox_sockets import dialled, take_over
from jelmore.session.errors import DependencyError


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_run_directory_is_closed_and_what_containers_use_is_open(tmp_path: Path) -> None:
    paths, key = RunPaths(tmp_path / "run"), new_key()
    paths.run_dir.mkdir(mode=0o755)
    for _ in range(2):
        paths.prepare()
        paths.make_folder(key)
        assert _mode(paths.run_dir) == 0o750
        assert _mode(paths.inner(key)) == 0o777
        assert _mode(paths.folder(key)) == 0o700
        assert (paths.inner(key) / "secret").read_text() == paths.secret(key) != ""
        assert _mode(paths.gateway) == 0o755
        assert _mode(paths.admin_socket.parent) == _mode(paths.managers) == _mode(paths.routes) == 0o700
    (paths.folder(key) / "runner.sock").touch()
    for _ in range(2):
        paths.clear_folder(key)
        assert not paths.folder(key).exists()


async def test_a_run_directory_that_takes_nothing_more_is_named(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "run")
    paths.prepare()
    await paths.check()
    assert list(paths.routes.iterdir()) == []
    paths.routes.rmdir()
    paths.routes.touch()  # not even root makes anything below a file
    (paths.run_dir / "key").touch()
    calls = (paths.prepare, lambda: paths.make_folder("key"))
    for call in calls:
        with pytest.raises(DependencyError, match=str(paths.run_dir)):
            call()
    with pytest.raises(DependencyError, match=str(paths.run_dir)):
        await paths.check()


def _listen(path: Path) -> socket.socket:
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    return made


def test_a_socket_is_taken_over_and_what_is_no_socket_is_not(tmp_path: Path) -> None:
    paths, key = RunPaths(tmp_path), new_key()
    paths.make_folder(key)
    inner, taken = paths.inner(key) / "control.sock", paths.control(key)
    take_over(paths.folder(key))
    assert not taken.exists()
    with _listen(inner):
        take_over(paths.folder(key))
        first = taken.stat().st_ino
        for kind in ("link", "file", "folder"):
            if kind == "link":
                inner.symlink_to(tmp_path / "elsewhere")
            elif kind == "file":
                inner.touch()
            else:
                inner.mkdir()
            with contextlib.suppress(OSError):
                take_over(paths.folder(key))
            assert taken.lstat().st_ino == first
            assert stat.S_ISSOCK(taken.lstat().st_mode)
        for left in paths.folder(key).glob(".control*"):
            left.rmdir()
    with _listen(inner):
        take_over(paths.folder(key))
        assert taken.lstat().st_ino != first, "a runner that began anew has made another"


def test_a_socket_is_dialled_by_itself_and_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with _listen(path) as own, _listen(tmp_path / "neighbour.sock") as neighbour, dialled(path) as name:
        for each in (own, neighbour):
            each.listen()
            each.settimeout(1)
        path.unlink()
        path.symlink_to(tmp_path / "neighbour.sock")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.connect(name)
            own.accept()[0].close()
        with pytest.raises(OSError, match="not a socket"), dialled(path):
            pass
