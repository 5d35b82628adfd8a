"""A second `Sandboxes` driver: sandboxes that are reached only over TCP, as on an engine of many machines.

Each sandbox is a runner process with a loopback address of its own in the role of a machine. The manager and Caddy know
nothing of it but ids, addresses and the secret of its control port. No isolation; for one manager.
"""

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore.drivers.local_files import inherited_descriptors
from jelmore.drivers.local_processes import collected, family, process, send
from jelmore.ports import Address, ControlAddress, FoundSandbox, Leftover, SandboxSpec
from jelmore.session.errors import ConflictError, DependencyError, WorkspaceLostError
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice
from jelmore.session.world import Sandbox, SandboxState

GATEWAY_VARIABLE: Final = "TEST_TCP_GATEWAY"
"""Environment variable with the address at which the gateway serves these sandboxes."""

CONTROL_PORT: Final = 7300
PUBLIC_PORT: Final = 7301
_KILL_S: Final = 15.0
_POLL_S: Final = 0.05
_WATCH_S: Final = 0.3
_LEADER: Final = '"$@"\necho "$?" >"$0.new" && mv "$0.new" "$0"'


@dataclass(frozen=True, slots=True)
class _Machine:
    """What is kept about one sandbox. `started` is the process's start time, so that a pid used again is not it."""

    id: str
    generation: int
    host: str
    secret: str
    pid: int
    started: int
    made_at: float


class TcpSandboxes:
    """Sandboxes below `root`. `gateway` is the address of the gateway: their tokens identify the caller."""

    def __init__(self, root: Path, *, gateway: str, search_path: str) -> None:
        self._root = root
        self._gateway = gateway
        self._search_path = search_path
        self._starting = asyncio.Lock()
        self._seen: dict[UUID, Sandbox] = {}

    async def check(self) -> None:
        """Return: nothing is needed but this Python."""

    async def recipe(self, choice: SandboxChoice = AS_ALL) -> str:
        """Return one recipe: every sandbox is made alike."""
        return "machine"

    async def observe(self, session_id: UUID, generation: int | None = None) -> Sandbox | None:
        """Return the session's sandbox."""
        machine = self._machine(session_id)
        return None if machine is None else self._sandbox(session_id, machine)

    async def found(self) -> Sequence[FoundSandbox]:
        """Return every sandbox."""
        return [
            FoundSandbox(session_id, self._sandbox(session_id, machine), datetime.fromtimestamp(machine.made_at, UTC))
            for session_id, machine in self._machines()
        ]

    async def start(self, spec: SandboxSpec) -> None:
        """Start this generation once, after the end of an older one."""
        async with self._starting:
            machine = self._machine(spec.session_id)
            if machine is not None and machine.generation >= spec.generation:
                return
            if machine is not None:
                await self._end(spec.session_id, machine)
            if not spec.first_start and not self._volume(spec.session_id).is_dir():
                raise WorkspaceLostError(spec.session_id)
            self._spawn(spec)

    async def pause(self, sandbox_id: str) -> None:
        """Stop its processes."""
        self._send(sandbox_id, signal.SIGSTOP, SandboxState.RUNNING)

    async def unpause(self, sandbox_id: str) -> None:
        """Continue its processes."""
        self._send(sandbox_id, signal.SIGCONT, SandboxState.PAUSED)

    async def remove(self, sandbox_id: str) -> None:
        """End this sandbox; keep the volume."""
        async with self._starting:
            for session_id, machine in self._machines():
                if machine.id == sandbox_id:
                    await self._end(session_id, machine)

    async def has_workspace(self, session_id: UUID) -> bool:
        """Return whether the volume exists."""
        return self._volume(session_id).is_dir()

    async def erase(self, session_id: UUID) -> None:
        """Remove the volume."""
        if self._machine(session_id) is not None:
            raise ConflictError(f"the workspace of session {session_id} is in use")
        await asyncio.to_thread(shutil.rmtree, self._root / str(session_id), ignore_errors=True)

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions with a volume."""
        return [UUID(entry.name) for entry in self._root.iterdir()] if self._root.is_dir() else []

    async def leftovers(self) -> Sequence[Leftover]:
        """Return nothing: a sandbox and its files are made and removed together."""
        return []

    async def clear(self, leftover: Leftover) -> None:
        """Remove nothing."""

    async def log_tail(self, sandbox_id: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that the runner printed."""
        for session_id, machine in self._machines():
            if machine.id == sandbox_id:
                return tuple(self._file(session_id, "log").read_text(errors="replace").splitlines()[-lines:])
        return ()

    async def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        """Yield the journal."""
        path = self._volume(session_id) / "state" / "journal.jsonl"
        if path.is_file():
            yield await asyncio.to_thread(path.read_bytes)

    async def free_bytes(self) -> int | None:
        """Return None: the disks are elsewhere."""
        return None

    async def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose sandbox changed, also since the last call ended. For one reader."""
        while True:
            now = {session_id: self._sandbox(session_id, machine) for session_id, machine in self._machines()}
            before, self._seen = self._seen, now
            for session_id in {*before, *now}:
                if before.get(session_id) != now.get(session_id):
                    yield session_id
            await asyncio.sleep(_WATCH_S)

    async def close(self) -> None:
        """Do nothing: sandboxes continue without a manager."""

    def _file(self, session_id: UUID, name: str) -> Path:
        return self._root / str(session_id) / name

    def _volume(self, session_id: UUID) -> Path:
        return self._file(session_id, "session")

    def _machine(self, session_id: UUID) -> _Machine | None:
        try:
            return _Machine(**json.loads(self._file(session_id, "machine").read_text()))
        except FileNotFoundError:
            return None

    def _machines(self) -> list[tuple[UUID, _Machine]]:
        ids = [UUID(entry.name) for entry in self._root.iterdir()] if self._root.is_dir() else []
        return [(each, machine) for each in ids if (machine := self._machine(each)) is not None]

    def _sandbox(self, session_id: UUID, machine: _Machine) -> Sandbox:
        control = f"tcp:{machine.host}:{CONTROL_PORT}"
        found = collected(process(machine.pid))
        state, exit_code = SandboxState.EXITED, None
        if found is not None and found.started == machine.started and found.alive:
            state = SandboxState.PAUSED if found.state in {"T", "t"} else SandboxState.RUNNING
        elif (written := self._file(session_id, "exit")).exists():
            exit_code = int(written.read_text())
        return Sandbox(
            machine.generation,
            state,
            machine.id,
            exit_code=exit_code,
            control=ControlAddress(control, session_id, machine.generation, machine.secret),
            public=Address(f"tcp:{machine.host}:{PUBLIC_PORT}"),
        )

    def _spawn(self, spec: SandboxSpec) -> None:
        self._volume(spec.session_id).mkdir(parents=True, exist_ok=True)
        self._file(spec.session_id, "exit").unlink(missing_ok=True)
        secret, last = secrets.token_urlsafe(32), secrets.token_bytes(3)
        host = f"127.{64 + last[0] % 64}.{last[1]}.{1 + last[2] % 254}"
        secret_file = self._file(spec.session_id, "secret")
        secret_file.write_text(secret)
        environment = {
            "JELMORE_RUNNER_CONTROL": f"tcp:{host}:{CONTROL_PORT}",
            "JELMORE_RUNNER_PUBLIC": f"tcp:{host}:{PUBLIC_PORT}",
            "JELMORE_RUNNER_SECRET_FILE": str(secret_file),
            "JELMORE_RUNNER_GATEWAY": self._gateway,
            "JELMORE_RUNNER_SESSION_DIR": str(self._volume(spec.session_id)),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PATH": self._search_path,
        }
        log = str(self._file(spec.session_id, "log"))
        leader = ["/bin/sh", "-c", _LEADER, str(self._file(spec.session_id, "exit"))]
        pid = os.posix_spawn(
            "/bin/sh",
            [*leader, sys.executable, "-P", "-u", "-m", "jelmore_runner"],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, each) for each in inherited_descriptors()),  # the manager's locks among them
            ],
            setsid=True,
        )
        born = process(pid)
        assert born is not None
        name = f"machine-{secrets.token_hex(6)}"
        machine = _Machine(name, spec.generation, host, secret, pid, born.started, time.time())
        note = self._file(spec.session_id, "machine")
        note.with_suffix(".new").write_text(json.dumps(asdict(machine)))
        note.with_suffix(".new").rename(note)

    def _marks(self, session_id: UUID) -> tuple[str, str]:
        return f"JELMORE_RUNNER_SESSION_DIR={self._volume(session_id)}", f"JELMORE_SESSION={session_id}"

    def _send(self, sandbox_id: str, what: signal.Signals, when: SandboxState) -> None:
        for session_id, machine in self._machines():
            if machine.id == sandbox_id and self._sandbox(session_id, machine).state is when:
                send(what, family(machine.pid, machine.started, self._marks(session_id)))

    async def _end(self, session_id: UUID, machine: _Machine) -> None:
        until = time.monotonic() + _KILL_S
        while True:
            collected(process(machine.pid))
            alive = family(machine.pid, machine.started, self._marks(session_id))
            if not alive:
                break
            if time.monotonic() > until:
                raise DependencyError("machines", f"{machine.id} cannot be ended")
            send(signal.SIGKILL, alive)
            await asyncio.sleep(_POLL_S)
        self._file(session_id, "machine").unlink(missing_ok=True)
