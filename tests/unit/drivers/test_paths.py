"""The run directory: closed to everybody else, because what is below it is open."""

import stat
from pathlib import Path
from uuid import uuid4

from jelmore.drivers.paths import RunPaths


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_run_directory_is_closed_and_what_containers_use_is_open(tmp_path: Path) -> None:
    paths, session_id = RunPaths(tmp_path / "run"), uuid4()
    paths.run_dir.mkdir(mode=0o755)
    for _ in range(2):
        paths.prepare()
        paths.make_session(session_id)
        assert _mode(paths.run_dir) == 0o750
        assert _mode(paths.session(session_id)) == 0o777
        assert _mode(paths.gateway) == 0o755
        assert _mode(paths.admin_socket.parent) == _mode(paths.managers) == _mode(paths.routes) == 0o700
    (paths.session(session_id) / "runner.sock").touch()
    for _ in range(2):
        paths.clear_session(session_id)
        assert not paths.session(session_id).exists()
