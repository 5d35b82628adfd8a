"""The runner's socket has its name when it listens: the manager moves it away as soon as it sees the name."""

import socket
import stat
from pathlib import Path

import pytest

from jelmore_runner.settings import Address
from jelmore_runner.sockets import bind


def test_a_socket_listens_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, rename = tmp_path / "control.sock", Path.rename
    seen: list[tuple[bool, int]] = []

    def renamed(self: Path, target: str) -> Path:
        with socket.socket(socket.AF_UNIX) as caller:
            seen.append((path.exists(), caller.connect_ex(str(self))))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", renamed)
    for stale in (False, True):  # the second one replaces what the first has left
        with bind(Address(path=str(path))) as listener, socket.socket(socket.AF_UNIX) as caller:
            assert not listener.getblocking()
            caller.connect(str(path))
        assert seen == [(stale, 0)]
        seen.clear()
        assert [each.name for each in tmp_path.iterdir()] == ["control.sock"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o666


def test_a_port_is_bound_as_well() -> None:
    with bind(Address(host="127.0.0.1", port=0)) as listener, socket.socket() as caller:
        caller.connect(listener.getsockname())
