"""A whole Jelmore as a user runs it: the same questions answered for the quick start and for the deployment."""

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final
from uuid import UUID

from jelmore.session.agent_uids import AGENT_UIDS, agent_uid

_LOWEST_PORT: Final = 12_000
ROOT: Final = Path(__file__).resolve().parents[2]
SERVICES: Final = ("postgres", "redis", "nats", "caddy", "manager", "gateway")
"""What may be killed, by the same names on every stack."""

_OURS: Final = ("JELMORE_", "ANTHROPIC_", "CLAUDE_", "COMPOSE_", "DATABASE_URL", "REDIS_URL", "NATS_URL", "POSTGRES_")


class Stack(ABC):
    """One installation with a folder, an instance name and ports of its own, so that it meets no other one."""

    kind: ClassVar[str]

    def __init__(self) -> None:
        self.mark = secrets.token_hex(4)
        self.folder = Path(tempfile.mkdtemp(prefix="je"))  # short: it holds sockets
        self.instance = f"e2e-{self.mark}"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.api_key = f"jlm_e2e_{secrets.token_hex(16)}"
        self.credential = f"sk-ant-recognisable-{secrets.token_hex(12)}"
        self.run_dir = self.folder / "run"

    # --- its life

    @abstractmethod
    def start(self) -> None:
        """Return when it serves. Fails with what it printed."""

    @abstractmethod
    def stop(self) -> None:
        """Stop it the way a user does; data stays."""

    @abstractmethod
    def remains(self) -> list[str]:
        """Return what a stopped stack left behind, in words."""

    def discard(self) -> None:
        """Remove the data of a stopped stack."""
        for volume in docker_lines("volume", "ls", "--quiet", "--filter", f"label=jelmore.instance={self.instance}"):
            docker("volume", "rm", "--force", volume)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- its parts

    @abstractmethod
    def pid(self, service: str) -> int | None:
        """Return the main process of a service, None while there is none."""

    @abstractmethod
    def database_url(self) -> str:
        """Return where PostgreSQL is for this process."""

    @abstractmethod
    def redis_url(self) -> str:
        """Return where Redis is for this process."""

    @abstractmethod
    def nats_url(self) -> str:
        """Return where NATS is for this process."""

    @abstractmethod
    def logs(self) -> str:
        """Return everything its services printed."""

    @abstractmethod
    def knows_credential(self, service: str) -> bool:
        """Return whether a service was given the credential."""

    def kill(self, service: str) -> int:
        """End a service with SIGKILL, as a crash would; return the pid it had."""
        pid = self.pid(service)
        assert pid is not None, f"{service} is not running"
        os.kill(pid, signal.SIGKILL)
        return pid

    def containers(self) -> list[str]:
        """Return the containers of its sessions."""
        return docker_lines("ps", "--all", "--quiet", "--filter", f"label=jelmore.instance={self.instance}")

    def container(self, session_id: str) -> str:
        """Return the container of a session, and not one that reads its files for a while."""
        form = '{{.ID}} {{.Label "jelmore.reader"}}'
        shown = docker("ps", "--filter", f"label=jelmore.session={session_id}", "--format", form).splitlines()
        found = [line.split()[0] for line in shown if len(line.split()) == 1]
        assert len(found) == 1, f"{session_id} has the containers {found}"
        return found[0]

    def caddy_config(self) -> str:
        """Return Caddy's running configuration, asked at its admin socket."""
        admin = str(self.run_dir / "caddy" / "admin.sock")
        with socket.socket(socket.AF_UNIX) as caller:
            caller.settimeout(5)
            caller.connect(admin)
            caller.sendall(b"GET /config/ HTTP/1.0\r\nHost: localhost\r\n\r\n")
            parts = list(iter(lambda: caller.recv(65536), b""))
        return b"".join(parts).decode()


def clean_environment(**ours: str) -> dict[str, str]:
    """Return this environment without any setting of Jelmore's, and with `ours`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
    return {**kept, **ours}


def free_port() -> int:
    """Return a port of the loopback that nobody uses now, below the kernel's range for outgoing connections.

    From that range, a connection that some other process opens could take the port before its server listens.
    """
    for _ in range(100):
        port = _LOWEST_PORT + secrets.randbelow(_ephemeral_from() - _LOWEST_PORT)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port found in 100 attempts")


def _ephemeral_from() -> int:
    first = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0]
    return max(int(first), _LOWEST_PORT + 1000)


def wait_for(condition: Callable[[], object], *, seconds: float, what: str) -> None:
    """Return when `condition` is true; fail after the deadline."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"did not happen within {seconds} s: {what}"
        time.sleep(0.02)


def run(command: Sequence[str], *, seconds: float = 60, stdin: str = "", **options: Any) -> str:
    """Return what a command prints; fail with its words when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=seconds, check=False, **options)
    assert done.returncode == 0, (
        f"{' '.join(command)}: exit {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    )
    return str(done.stdout)


def docker(*arguments: str, seconds: float = 60, stdin: str = "") -> str:
    """Return what the engine's client prints."""
    return run(["docker", *arguments], seconds=seconds, stdin=stdin)


def docker_lines(*arguments: str) -> list[str]:
    """Return the words the engine's client prints."""
    return docker(*arguments).split()


def as_agent(container: str, *command: str) -> str:
    """Return what a command prints that runs in a sandbox as its agent."""
    return docker("exec", container, "/opt/jelmore/bin/agent", *command)


def agent_uid_of(session_id: str) -> str:
    """Return the user id of a session's agent, with the default settings."""
    return str(agent_uid(UUID(session_id), AGENT_UIDS))


def inspect(container: str) -> dict[str, Any]:
    """Return the engine's view of a container."""
    found: list[dict[str, Any]] = json.loads(docker("inspect", container))
    return found[0]


def sockets_below(folder: Path) -> list[str]:
    """Return every socket and link below a folder."""
    found = folder.rglob("*") if folder.is_dir() else []
    return [str(path) for path in found if path.is_socket() or path.is_symlink()]
