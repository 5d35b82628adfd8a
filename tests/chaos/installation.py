"""The quick start under test, with handles for faults: its processes, its sessions' processes, a second manager."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from tests.support.engine_relay import RUNNER_IMAGE
from tests.support.stack import ROOT, docker, docker_lines, run, wait_for
from tests.support.stack_quickstart import QuickStart, born, children, command, family

SETTINGS: Final = {
    "JELMORE_LOG_LEVEL": "debug",
    "JELMORE_IDLE_AFTER_S": "4",
    "JELMORE_HIBERNATE_AFTER_S": "10",
    "JELMORE_TIMEOUT_MINUTES": "0",
    "JELMORE_TOKEN_TTL_S": "86400",
    "JELMORE_SWEEP_EVERY_S": "3",
    "JELMORE_QUARANTINE_S": "3",
    "JELMORE_MONITOR_EVERY_S": "10",
    "JELMORE_PROBE_EVERY_S": "5",
    "JELMORE_PROBE_GRACE_S": "5",
    "JELMORE_RESTARTS_ALLOWED": "8",
    "JELMORE_RESTART_WINDOW_S": "20",
}
"""Everything that waits minutes in real life waits seconds here; nothing else differs from what a user gets."""

POOL: Final = {"JELMORE_POOL_SIZE": "1", "JELMORE_POOL_MAX_AGE_S": "60"}
"""A warm pool whose members grow old during a run."""

_SECOND_SLOT: Final = 1
_SWEPT_S: Final = 900.0
"""Two sweeps after a crash left it, a folder of sockets is gone."""


class Installation(QuickStart):
    """A quick start with its own demo model, and perhaps a second manager."""

    def __init__(self, *, runtime: str = "docker", **settings: str) -> None:
        super().__init__(own_model=True, **{**SETTINGS, "JELMORE_RUNTIME": runtime, **settings})
        self.runtime = runtime
        self._second: subprocess.Popen[bytes] | None = None
        self._engine: subprocess.Popen[bytes] | None = None

    # --- its services

    def environment(self) -> dict[str, str]:
        """Lead the way to the engine through a process of ours, so that it can hang for this installation alone."""
        through = {"DOCKER_HOST": f"unix://{self._engine_socket}"} if self._engine else {}
        return {**super().environment(), **through}

    def start(self) -> None:
        """Start the way to the engine, then the rest."""
        if self.runtime == "docker" and self._engine is None:
            words = [sys.executable, "-m", "tests.support.engine_relay", str(self._engine_socket)]
            self._engine = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL)
            wait_for(self._engine_socket.exists, seconds=10, what="the way to the engine")
        super().start()

    @property
    def _engine_socket(self) -> Path:
        return self.folder / "engine.sock"

    def processes(self, service: str) -> list[int]:
        """Return a service's process and everything below it, the parent first; for `engine`, the way to it."""
        if service == "engine":
            assert self._engine is not None, "there is no engine"
            return [self._engine.pid]
        pid = self.pid(service)
        assert pid is not None, f"{service} is not running"
        return family(pid)

    def signalled(self, service: str, number: signal.Signals) -> list[int]:
        """Send a signal to all processes of a service; return them."""
        found = self.processes(service)
        send(found, number)
        return found

    def folder_of(self, service: str) -> Path:
        """Return where the service keeps its data."""
        return self.data_dir / {"redis": "valkey"}.get(service, service)

    def manager_sockets(self) -> list[Path]:
        """Return the sockets of the managers that are there."""
        return sorted((self.run_dir / "manager").glob("[0-3].sock"))

    def routes(self) -> set[str]:
        """Return the sessions that are published."""
        folder = self.run_dir / "routes"
        return {path.name for path in folder.iterdir() if path.name.count("-") == 4} if folder.is_dir() else set()

    def old_folders(self) -> set[str]:
        """Return the folders of sockets that no container may use any more and no sweep took."""
        old = time.time() - _SWEPT_S
        named = [path for path in self.run_dir.iterdir() if len(path.name) == 16]
        used = {self.sockets(session_id).name for session_id in self.routes()}
        return {path.name for path in named if path.name not in used and path.stat().st_mtime < old}

    def sockets(self, session_id: str) -> Path:
        """Return the folder of a published session's sockets."""
        return (self.run_dir / "routes" / session_id).readlink().parent

    # --- a second manager

    def start_second(self) -> None:
        """Start another manager on the same stores, with the environment of the first."""
        assert self._second is None
        first = self.pid("manager")
        assert first is not None
        variables = Path(f"/proc/{first}/environ").read_bytes().decode().rstrip("\0").split("\0")
        environment = dict(line.partition("=")[::2] for line in variables) | {"JELMORE_MANAGER_SLOT": str(_SECOND_SLOT)}
        with (self.folder / "second.log").open("ab") as log:
            self._second = subprocess.Popen(
                [sys.executable, "-m", "jelmore", "serve"],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def second_socket(self) -> Path:
        """Where the second manager listens."""
        return self.run_dir / "manager" / f"{_SECOND_SLOT}.sock"

    @property
    def has_second(self) -> bool:
        """Whether the second manager runs."""
        return self._second is not None and self._second.poll() is None

    def end_second(self, number: signal.Signals) -> None:
        """End the second manager with a signal; none is success."""
        second, self._second = self._second, None
        if second is not None:
            second.send_signal(number)
            try:
                second.wait(20)
            except subprocess.TimeoutExpired:
                second.kill()
                second.wait(10)
                raise

    def stop(self) -> None:
        """Stop both managers and the rest."""
        try:
            self.end_second(signal.SIGTERM)
        finally:
            super().stop()

    def abandon(self) -> None:
        """Forget a quick start that ended by itself."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def logs(self) -> str:
        """Return what everything printed."""
        second = self.folder / "second.log"
        return super().logs() + ("\n" + second.read_text(errors="replace") if second.exists() else "")

    # --- its sessions

    def sandboxes(self) -> dict[str, list[tuple[str, str]]]:
        """Return (container or pid, state) of every sandbox of this installation, by session."""
        found: dict[str, list[tuple[str, str]]] = {}
        if self.runtime == "local":
            for note in (self.data_dir / "local").glob("*/process"):
                pid = int(note.read_text().split()[0])
                if born(pid):
                    found.setdefault(note.parent.name, []).append((str(pid), "running"))
            return found
        form = '{{.ID}} {{.State}} {{.Label "jelmore.session"}} {{.Label "jelmore.reader"}}'
        mine = f"label=jelmore.instance={self.instance}"
        for line in docker("ps", "--all", "--no-trunc", "--filter", mine, "--format", form).splitlines():
            words = line.split()
            if len(words) == 3:  # a reader has a fourth word, and lives for one look
                found.setdefault(words[2], []).append((words[0], words[1]))
        return found

    def running_box(self, session_id: str) -> str | None:
        """Return the running container (or leading process) of a session."""
        return next((sandbox for sandbox, state in self.sandboxes().get(session_id, []) if state == "running"), None)

    def inside(self, sandbox: str) -> list[int]:
        """Return all processes of a sandbox, as this machine numbers them."""
        if self.runtime == "local":
            return family(int(sandbox))
        return [int(word) for word in docker("top", sandbox, "-eo", "pid").split()[1:]]

    def kill_runner(self, sandbox: str) -> None:
        """End a session's runner as a crash would."""
        if self.runtime == "local":
            send([pid for pid in children(int(sandbox)) if "jelmore_runner" in command(pid)], signal.SIGKILL)
        else:
            with suppress(AssertionError):  # it may be gone since we looked
                docker("kill", sandbox)

    def remove_box(self, sandbox: str) -> None:
        """Remove a session's container behind the manager's back."""
        if self.runtime == "local":
            send(reversed(family(int(sandbox))), signal.SIGKILL)
        else:
            docker("rm", "--force", sandbox)

    def agent(self, sandbox: str) -> int | None:
        """Return the process of Claude Code in a sandbox, as this machine numbers it."""
        if self.runtime == "local":
            inside = family(int(sandbox))
        else:
            with suppress(AssertionError, ValueError):
                inside = [int(word) for word in docker("top", sandbox, "-eo", "pid").split()[1:]]
                return next((pid for pid in inside if _is_agent(pid)), None)
            return None
        return next((pid for pid in inside if _is_agent(pid)), None)

    def kept_file(self, session_id: str, path: str) -> str:
        """Return a file below `/session` as it is on the session's volume; empty when there is none."""
        if self.runtime == "local":
            file = self.data_dir / "local" / session_id / "session" / path
            return file.read_text() if file.exists() else ""
        words = ["run", "--rm", "--network", "none", "--user", "0", "--entrypoint", "sh"]
        volume = f"jelmore-{session_id}:/session:ro"
        act = f"test ! -e /session/{path} || cat /session/{path}"
        return docker(*words, "--volume", volume, RUNNER_IMAGE, "-c", act)

    def stray_box(self, session_id: str) -> None:
        """Start a container that claims to be a session nobody made."""
        labels = [f"jelmore.session={session_id}", f"jelmore.instance={self.instance}", "jelmore.generation=1"]
        marks = [word for label in labels for word in ("--label", label)]
        rest = ["--entrypoint", "sleep", RUNNER_IMAGE, "600"]
        docker("run", "--detach", "--network", "none", "--name", f"jelmore-{session_id}-1", *marks, *rest)

    def stray_route(self, session_id: str) -> None:
        """Publish a session that nobody made."""
        (self.run_dir / "routes" / session_id).symlink_to(self.run_dir / session_id / "runner.sock")

    def discard(self) -> None:
        """Remove what a failed run may have left, then the data."""
        for container in docker_lines("ps", "-aq", "--filter", f"label=jelmore.instance={self.instance}"):
            run(["docker", "rm", "--force", container])
        if self._engine is not None:
            self._engine.kill()
            self._engine.wait(10)
            self._engine = None
        super().discard()


def send(pids: Any, number: signal.Signals) -> None:
    """Send a signal to processes; those that are gone are no matter."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


def wipe(*folders: Path) -> None:
    """Remove folders with all that is in them."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def _is_agent(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip() == "claude"
    return False
