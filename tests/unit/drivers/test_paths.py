"""The run directory: closed to everybody else, because what is below it is open."""

import stat
from pathlib import Path

import pytest

from jelmore.drivers.paths import RunPaths, new_key
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
        assert _mode(paths.folder(key)) == 0o777
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
