"""A restart of the machine's Docker daemon. Asked for by a flag and never otherwise: others may use it too."""

import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from tests.support.stack import docker, wait_for

_PID_FILE: Final = Path("/var/run/docker.pid")
_LOG: Final = Path(tempfile.gettempdir()) / "jelmore-chaos-dockerd.log"
_CONTAINERD_PID_FILE: Final = Path("/var/run/docker/containerd/containerd.pid")


def restart_dockerd() -> None:
    """Kill the daemon and return when another answers. One that systemd keeps is left to systemd."""
    pid = int(_PID_FILE.read_text())
    command = Path(f"/proc/{pid}/cmdline").read_bytes().decode().rstrip("\0").split("\0")
    environment = dict(
        line.partition("=")[::2]
        for line in Path(f"/proc/{pid}/environ").read_bytes().decode().rstrip("\0").split("\0")
        if line
    )
    kept = shutil.which("systemctl") is not None and _active()
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{pid}").exists() or _zombie(pid), seconds=10, what="the end of dockerd")
    # The daemon's own containerd dies with it, a moment later; a daemon that starts in between adopts a dying one.
    wait_for(_containerd_gone, seconds=20, what="the end of dockerd's containerd")
    if not kept:
        for pid_file in (
            _PID_FILE,
            _CONTAINERD_PID_FILE,
        ):  # a dead one that nobody reaps looks alive to the next daemon
            pid_file.unlink(missing_ok=True)
        with _LOG.open("wb") as log:
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    wait_for(_answers, seconds=60, what=f"another dockerd; see {_LOG}")


def _containerd_gone() -> bool:
    try:
        pid = int(_CONTAINERD_PID_FILE.read_text())
    except (OSError, ValueError):
        return True
    return not Path(f"/proc/{pid}").exists() or _zombie(pid)


def _active() -> bool:
    return subprocess.run(["systemctl", "is-active", "--quiet", "docker"], check=False, timeout=10).returncode == 0


def _zombie(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


def _answers() -> bool:
    try:
        return bool(docker("version", "--format", "{{.Server.Version}}", seconds=5))
    except (AssertionError, subprocess.TimeoutExpired):
        return False
