"""The quick start as a stack: the real command as a child process, ended by SIGINT as Ctrl-C would."""

import json
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import ClassVar, Final

from jelmore.drivers.docker_options import DEFAULT_RUNTIME
from tests.support.engine_relay import OCI_RUNTIME, RUNNER_IMAGE
from tests.support.stack import ROOT, Stack, clean_environment, docker_lines, free_port, sockets_below, wait_for
from tests.support.tcp_sandboxes import GATEWAY_VARIABLE

_NAMES: Final = {
    "postgres": re.compile(r"/postgres -D "),
    "redis": re.compile(r"/valkey-server "),
    "nats": re.compile(r"/nats-server "),
    "caddy": re.compile(r"/caddy run "),
    "manager": re.compile(r" -m (jelmore serve|tests\.support\.manager_on_tcp)"),
    "gateway": re.compile(r" -m jelmore_gateway(?!\.)"),
    "mcp-servers": re.compile(r" -m jelmore_gateway\.stdio"),
    "model": re.compile(r" -m jelmore_demo "),
}


class QuickStart(Stack):
    """`python -m jelmore quickstart`. With `own_model` it starts its demo model itself, as without any credential.

    Otherwise a demo model is started beside it and the deployment is given a credential that can be searched for.
    """

    kind: ClassVar[str] = "quickstart"
    command: ClassVar[tuple[str, ...]] = ("-m", "jelmore", "quickstart")

    def __init__(self, *, own_model: bool = False, **settings: str) -> None:
        super().__init__()
        self.data_dir = self.folder / "data"
        self.run_dir = self.data_dir / "run"
        self.output = self.folder / "output.log"
        self._own_model = own_model
        self._settings = settings
        self._model: subprocess.Popen[bytes] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._family: dict[int, str] = {}

    def environment(self) -> dict[str, str]:
        """Return the environment of the command."""
        ours = {
            "JELMORE_DATA_DIR": str(self.data_dir),
            "JELMORE_HTTP_LISTEN": f"127.0.0.1:{self.port}",
            "JELMORE_INSTANCE": self.instance,
            "JELMORE_API_KEY": self.api_key,
            "JELMORE_RUNNER_IMAGE": RUNNER_IMAGE,
        }
        if not self._own_model:
            ours |= {"ANTHROPIC_API_KEY": self.credential, "ANTHROPIC_BASE_URL": f"unix:{self.folder / 'model.sock'}"}
        return clean_environment(**(ours | self._runtime() | self._settings))

    def _runtime(self) -> dict[str, str]:
        """Return the settings for TEST_OCI_RUNTIME: the default profile names it, or the deployment."""
        if OCI_RUNTIME == DEFAULT_RUNTIME or self._settings.get("JELMORE_RUNTIME") == "local":
            return {}
        if "JELMORE_PROFILES" in self._settings:
            return {"JELMORE_OCI_RUNTIME": OCI_RUNTIME}
        file = self.folder / "profiles.toml"
        file.write_text(f'[profiles.default]\nruntime = "{OCI_RUNTIME}"\n')
        return {"JELMORE_PROFILES": str(file)}

    def start(self) -> None:
        """Return when the command has said where it is."""
        if not self._own_model and self._model is None:
            self._start_model()
        with self.output.open("ab") as log:
            seen = log.tell()
            self._process = subprocess.Popen(
                [sys.executable, *self.command],
                cwd=self.folder,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        process = self._process

        def said() -> bool:
            printed = self.output.read_bytes()[seen:].decode()
            assert process.poll() is None, f"the quick start ended with {process.returncode}:\n{printed}"
            return "Ctrl-C stops everything" in printed

        wait_for(said, seconds=90, what="the quick start's welcome")

    def stop(self) -> None:
        """Press Ctrl-C and wait for the end."""
        if self._process is not None:
            self._family = {pid: born(pid) for pid in family(self._process.pid)}
            self._process.send_signal(signal.SIGINT)
            try:
                status = self._process.wait(60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
                raise
            self._process = None
            assert status == 0, f"the quick start ended with {status}:\n{self.output.read_text()}"

    def discard(self) -> None:
        """Stop the model beside it too."""
        if self._model is not None:
            self._model.terminate()
            self._model.wait(10)
            self._model = None
        super().discard()

    def remains(self) -> list[str]:
        """Return processes, containers and sockets that outlived the command."""
        alive = [f"process {pid}: {command(pid)}" for pid, when in self._family.items() if when and born(pid) == when]
        containers = [f"container {found}" for found in self.containers()]
        networks = [
            f"network {found}"
            for found in docker_lines("network", "ls", "-q", "--filter", f"label=jelmore.instance={self.instance}")
        ]
        return [*alive, *containers, *networks, *sockets_below(self.data_dir)]

    def pid(self, service: str) -> int | None:
        """Return the child of that name; of the manager the process that serves, which is forked from the child."""
        if self._process is None:
            return None
        found = _named(service, self._process.pid)
        return _named(service, found) if service == "manager" and found is not None else found

    def database_url(self) -> str:
        """Return the URL from the manager's environment."""
        return self._variable("DATABASE_URL")

    def redis_url(self) -> str:
        """Return the URL from the manager's environment."""
        return self._variable("REDIS_URL")

    def nats_url(self) -> str:
        """Return the URL from the manager's environment."""
        return self._variable("NATS_URL")

    def logs(self) -> str:
        """Return what the command and its children printed."""
        files = [self.output, *self.data_dir.glob("*/*.log")]
        return "\n".join(path.read_text(errors="replace") for path in files)

    def knows_credential(self, service: str) -> bool:
        """Return whether the environment that a service was started with holds it."""
        return self._environment_of(service).get("ANTHROPIC_API_KEY") == self.credential

    def _variable(self, name: str) -> str:
        return self._environment_of("manager")[name]

    def _environment_of(self, service: str) -> dict[str, str]:
        pid = self.pid(service)
        assert pid is not None, f"{service} is not running"
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
        return dict(line.partition("=")[::2] for line in environment)

    def _start_model(self) -> None:
        listen = self.folder / "model.sock"
        with (self.folder / "model.log").open("ab") as log:
            self._model = subprocess.Popen(
                [sys.executable, "-m", "jelmore_demo", "--listen", f"unix:{listen}"],
                env=clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_for(listen.exists, seconds=20, what="the demo model's socket")


class QuickStartOnTcp(QuickStart):
    """The quick start whose sandboxes are reached only over TCP, by a driver that is not in the package."""

    kind: ClassVar[str] = "tcp"
    command: ClassVar[tuple[str, ...]] = ("-m", "tests.support.quickstart_on_tcp")

    def __init__(self, **settings: str) -> None:
        gateway = f"127.0.0.1:{free_port()}"
        ours = {"JELMORE_RUNTIME": "local", "JELMORE_GATEWAY_LISTEN": gateway, GATEWAY_VARIABLE: f"tcp:{gateway}"}
        super().__init__(own_model=False, PYTHONPATH=str(ROOT), **ours, **settings)

    def machines(self) -> list[str]:
        """Return the sessions that have a sandbox."""
        return [path.parent.name for path in self.data_dir.glob("machines/*/machine")]

    def discard(self) -> None:
        """End the sandboxes that a failed test left, which no quick start knows."""
        for note in self.data_dir.glob("machines/*/machine"):
            with suppress(ProcessLookupError):
                os.killpg(json.loads(note.read_text())["pid"], signal.SIGKILL)
        super().discard()

    def remains(self) -> list[str]:
        """Return sandboxes as well."""
        return [*super().remains(), *(f"sandbox of {session_id}" for session_id in self.machines())]


def _named(service: str, parent: int) -> int | None:
    return next((pid for pid in children(parent) if _NAMES[service].search(command(pid))), None)


def command(pid: int) -> str:
    """Return a process's command line; empty when it has gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
    except OSError:
        return ""


def born(pid: int) -> str:
    """Return when a process was started, so that a pid used again is not taken for it; empty when it has gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def children(pid: int) -> list[int]:
    """Return a process's children, those of each of its threads."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [int(word) for word in path.read_text().split()]
        except OSError:
            continue
    return found


def family(pid: int) -> list[int]:
    """Return a process and everything below it."""
    return [pid, *(each for child in children(pid) for each in family(child))]
