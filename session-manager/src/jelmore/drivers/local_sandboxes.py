"""`Sandboxes` without an engine: each session is a process of the manager's own user, with no isolation at all.

For machines without Docker and for fast tests. A session outlives its manager: a leader shell writes its own
identity to a file before it starts the runner, and writes the runner's exit status when the runner ends.
"""

import asyncio
import fcntl
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from jelmore import __version__
from jelmore.drivers.local_files import inherited_descriptors, open_regular, runner_variables, tail_of
from jelmore.drivers.local_processes import Process, collected, family, process, send
from jelmore.drivers.paths import RunPaths, new_key
from jelmore.drivers.skill_folders import NO_SKILLS, SkillFolders
from jelmore.ports import FoundSandbox, Leftover, SandboxSpec
from jelmore.session.errors import ConflictError, DependencyError, RefusedError, WorkspaceLostError
from jelmore.session.sandbox_choice import AS_ALL, SandboxChoice
from jelmore.session.world import ControlAddress, Sandbox, SandboxState

STARTED_S: Final = 10.0
TERM_S: Final = 5.0
KILL_S: Final = 10.0
POLL_S: Final = 0.02
WATCH_S: Final = 0.5
JOURNAL_PIECE_BYTES: Final = 256 * 1024
LOG_TAIL_BYTES: Final = 256 * 1024
AGENT_MARK: Final = "JELMORE_SESSION"
"""What the runner puts into the environment of Claude Code and all its tools."""

# $0: file for the exit status; $1: file for the leader's identity (pid, start time, $2); $2: generation and key of the
# socket folder; the rest: the runner's command. Standard input is the start lock. The shell closes it after the
# identity file is complete, so the lock is released even when the manager has died in the meantime.
LEADER: Final = """
trap : TERM
note=$1; known=$2; shift 2
started=$(sed 's/.*) //' /proc/$$/stat | cut -d ' ' -f 20)
echo "$$ $started $known" >"$note.new" && mv "$note.new" "$note"
exec </dev/null
"$@"
code=$?
echo "$code" >"$0.new" && mv "$0.new" "$0"
"""


@dataclass(frozen=True, slots=True)
class _Note:
    """The leader of a session: pid, start time in clock ticks, generation, and the key of the socket folder."""

    pid: int
    started: int
    generation: int
    key: str

    @property
    def sandbox_id(self) -> str:
        """The id of this run of the session."""
        return f"local-{self.pid}-{self.started}"


class LocalSandboxes:
    """Sessions as processes, with their folders below `data_dir/local`. `search_path` is the PATH of the agent."""

    def __init__(
        self,
        *,
        data_dir: Path,
        paths: RunPaths,
        search_path: str,
        claude: str | None = None,
        skills: SkillFolders = NO_SKILLS,
    ) -> None:
        self._root = data_dir / "local"
        self._paths = paths
        self._search_path = search_path
        self._claude = claude
        self._skills = skills
        self._seen: dict[UUID, Sandbox | None] = {}

    async def check(self) -> None:
        """Return when a runner can be started. Raises RefusedError when its package is not installed."""
        import importlib.util

        if importlib.util.find_spec("jelmore_runner") is None:
            raise RefusedError("local sessions", "the package jelmore_runner is not installed here")

    async def recipe(self, choice: SandboxChoice = AS_ALL) -> str:
        """Return this version: the runner is a part of it. Raises RefusedError as `check` does. There are no images."""
        await self.check()
        skills = self._skills.of(choice) if choice.skills_dir else ""
        return f"local {__version__} {skills}".rstrip()

    async def observe(self, session_id: UUID, generation: int | None = None) -> Sandbox | None:  # noqa: ARG002 - there is one
        """Return the state of the session's process, None when there is none."""
        return self._sandbox(session_id)

    async def found(self) -> Sequence[FoundSandbox]:
        """Return every sandbox that was started and not removed."""
        sandboxes = []
        for session_id in await self.kept():
            sandbox = self._sandbox(session_id)
            if sandbox is not None:
                made = self._file(session_id, "process").stat().st_mtime
                sandboxes.append(FoundSandbox(session_id, sandbox, datetime.fromtimestamp(made, UTC)))
        return sandboxes

    async def start(self, spec: SandboxSpec) -> None:
        """Start the runner of this generation once. A runner that has already run is not started again.

        May run twice, also concurrently. Raises WorkspaceLostError when the workspace is missing on a later start,
        and DependencyError.
        """
        if not spec.first_start and not await self.has_workspace(spec.session_id):
            raise WorkspaceLostError(spec.session_id)
        self._paths.prepare()
        try:
            if not await self._start(spec):
                return
        except OSError as error:
            raise DependencyError("local", f"cannot start a session: {error.strerror}") from None
        await _until(lambda: self._note(spec.session_id) is not None, STARTED_S, "a session's process did not begin")

    async def _start(self, spec: SandboxSpec) -> bool:
        """Start the process unless it runs, has run, or is being started elsewhere. Return whether it was started."""
        with self._locked(spec.session_id) as lock:
            if lock is None:
                return False
            note = self._note(spec.session_id)
            if note is not None and note.generation < spec.generation:
                await self._end(spec.session_id, note)
                note = None
            if note is not None:
                return False
            self._spawn(spec, lock)
            return True

    async def pause(self, sandbox_id: str) -> None:
        """Stop every process of this run, after its leader has released the start lock. May run twice."""
        session_id = self._session_of(sandbox_id)
        if session_id is not None:
            async with self._alone(session_id):
                self._send(sandbox_id, signal.SIGSTOP, SandboxState.RUNNING)

    async def unpause(self, sandbox_id: str) -> None:
        """Continue every process of this run. May run twice."""
        self._send(sandbox_id, signal.SIGCONT, SandboxState.PAUSED)

    async def remove(self, sandbox_id: str) -> None:
        """End every process of this run and remove its sockets. The workspace stays. May run twice.

        Raises DependencyError while another manager starts or removes a run of the same session.
        """
        session_id = self._session_of(sandbox_id)
        if session_id is None:
            return
        async with self._alone(session_id):
            note = self._note(session_id)
            if note is not None and note.sandbox_id == sandbox_id:
                await self._end(session_id, note)

    async def has_workspace(self, session_id: UUID) -> bool:
        """Return whether the session's workspace folder exists."""
        return (self._root / str(session_id) / "session").is_dir()

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's folder. Absent is success. Raises ConflictError while a run of it is not removed."""
        folder = self._root / str(session_id)
        if not folder.is_dir():
            return
        async with self._alone(session_id):
            if self._note(session_id) is not None:
                raise ConflictError(f"the workspace of session {session_id} is in use")
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions that have a folder."""
        found = []
        for entry in self._root.iterdir() if self._root.is_dir() else ():
            with suppress(ValueError):
                found.append(UUID(entry.name))
        return found

    async def leftovers(self) -> Sequence[Leftover]:
        """Return socket folders that no run uses, and folders whose name is not a session id."""
        folders = self._paths.folders()
        kept = await self.kept()
        used = {note.key for each in kept if (note := self._note(each)) is not None}
        left = [Leftover("sockets", key, "no session uses it") for key in folders if key not in used]
        names = {entry.name for entry in self._root.iterdir()} if self._root.is_dir() else set()
        strange = names - {str(each) for each in kept}
        return [*left, *(Leftover("volume", name, "its name is not a session", removable=False) for name in strange)]

    async def clear(self, leftover: Leftover) -> None:
        """Remove a socket folder. Other leftovers are only reported."""
        if leftover.kind == "sockets":
            self._paths.clear_folder(leftover.name)

    async def log_tail(self, sandbox_id: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that the runner printed, taken from the last 256 KiB of its log."""
        session_id = self._session_of(sandbox_id)
        if session_id is None:
            return ()
        text = tail_of(self._file(session_id, "log"), LOG_TAIL_BYTES).decode("utf-8", "replace")
        return tuple(text.splitlines()[-lines:])

    async def journal(self, session_id: UUID) -> AsyncGenerator[bytes]:
        """Yield the journal in pieces of at most 256 KiB. Yields nothing when it is not a regular file."""
        path = self._root / str(session_id) / "session" / "state" / "journal.jsonl"
        try:
            file = await asyncio.to_thread(open_regular, path)
        except FileNotFoundError:
            return
        try:
            while piece := await asyncio.to_thread(file.read, JOURNAL_PIECE_BYTES):
                yield piece
        finally:
            file.close()

    async def free_bytes(self) -> int | None:
        """Return the free bytes on the file system of the sessions' folders."""
        folder = self._root
        while not folder.exists():
            folder = folder.parent
        return shutil.disk_usage(folder).free

    async def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose process changed. Polls every 0.5 s and never ends by itself. For one reader."""
        while True:
            now = {session_id: self._sandbox(session_id) for session_id in await self.kept()}
            before, self._seen = self._seen, now
            for session_id in [*now, *(before.keys() - now.keys())]:
                if now.get(session_id) != before.get(session_id):
                    yield session_id
            await asyncio.sleep(WATCH_S)

    async def close(self) -> None:
        """Do nothing: no connection is open, and the processes keep running."""

    def _file(self, session_id: UUID, name: str) -> Path:
        return self._root / str(session_id) / name

    def _note(self, session_id: UUID) -> _Note | None:
        try:
            pid, started, generation, *key = self._file(session_id, "process").read_text(encoding="ascii").split()
            # Runs started by versions without keys have their sockets in a folder named after the session.
            return _Note(int(pid), int(started), int(generation), key[0] if key else str(session_id))
        except (OSError, ValueError):
            return None

    def _session_of(self, sandbox_id: str) -> UUID | None:
        for entry in self._root.iterdir() if self._root.is_dir() else ():
            with suppress(ValueError):
                note = self._note(UUID(entry.name))
                if note is not None and note.sandbox_id == sandbox_id:
                    return UUID(entry.name)
        return None

    def _sandbox(self, session_id: UUID) -> Sandbox | None:
        note = self._note(session_id)
        if note is None:
            return None
        secret = self._paths.secret(note.key)
        control = ControlAddress(f"unix:{self._paths.control(note.key)}", session_id, note.generation, secret)
        ended = Sandbox(
            note.generation,
            SandboxState.EXITED,
            note.sandbox_id,
            control=control,
            public=self._paths.public(note.key),
        )
        found = collected(process(note.pid))
        if found is not None and found.started == note.started and found.alive:
            return replace(ended, state=SandboxState.PAUSED if found.state in {"T", "t"} else SandboxState.RUNNING)
        return replace(ended, exit_code=self._exit_code(session_id))

    def _exit_code(self, session_id: UUID) -> int | None:
        """Return the runner's exit status, None when its leader was killed before it could write it."""
        try:
            return int(self._file(session_id, "exit").read_text(encoding="ascii"))
        except (OSError, ValueError):
            return None

    def _spawn(self, spec: SandboxSpec, lock: int) -> None:
        folder, key = self._root / str(spec.session_id), new_key()
        self._paths.make_folder(key)
        (folder / "session").mkdir(exist_ok=True)
        self._file(spec.session_id, "exit").unlink(missing_ok=True)
        arguments = (str(folder / "exit"), str(folder / "process"), f"{spec.generation} {key}")
        runner = (sys.executable, "-P", "-u", "-m", "jelmore_runner")
        # Not `subprocess`: its object would have to live as long as the session.
        os.posix_spawn(
            "/bin/sh",
            ["/bin/sh", "-c", LEADER, *arguments, *runner],
            self._environment(spec, key),
            file_actions=[
                (os.POSIX_SPAWN_DUP2, lock, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(folder / "log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *((os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in inherited_descriptors()),
            ],
            setsid=True,
        )

    def _environment(self, spec: SandboxSpec, key: str) -> dict[str, str]:
        folder, inner = self._root / str(spec.session_id) / "session", self._paths.inner(key)
        gateway = self._paths.gateway_folder(spec.session_id, spec.generation)
        own = runner_variables(folder, inner, gateway, self._skills.of(spec.choice))
        own["PATH"] = self._search_path
        return own if self._claude is None else {**own, "JELMORE_RUNNER_CLAUDE": self._claude}

    @asynccontextmanager
    async def _alone(self, session_id: UUID) -> AsyncIterator[None]:
        """Hold the session's start lock, so that no other manager starts or removes a run of it.

        Raises DependencyError when the lock is not free within 10 s.
        """
        until = time.monotonic() + STARTED_S
        while True:
            with self._locked(session_id) as lock:
                if lock is not None:
                    yield
                    return
            if time.monotonic() > until:
                raise DependencyError("local sessions", f"session {session_id} is being started or removed")
            await asyncio.sleep(POLL_S)

    @contextmanager
    def _locked(self, session_id: UUID) -> Iterator[int | None]:
        """Hold the session's start lock. Yields its descriptor, or None when another process holds it."""
        folder = self._root / str(session_id)
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield lock
        finally:
            os.close(lock)

    def _family(self, session_id: UUID, note: _Note) -> list[Process]:
        own = f"JELMORE_RUNNER_SESSION_DIR={self._root / str(session_id) / 'session'}"
        return family(note.pid, note.started, (own, f"{AGENT_MARK}={session_id}"))

    def _send(self, sandbox_id: str, what: signal.Signals, when: SandboxState) -> None:
        session_id = self._session_of(sandbox_id)
        if session_id is None:
            return
        note, sandbox = self._note(session_id), self._sandbox(session_id)
        if note is not None and sandbox is not None and sandbox.id == sandbox_id and sandbox.state is when:
            send(what, self._family(session_id, note))

    async def _end(self, session_id: UUID, note: _Note) -> None:
        """Send SIGTERM, then SIGKILL, to every process of the session, then remove its sockets and identity file.

        Call it with the session's start lock. Raises DependencyError when a process cannot be killed.
        """
        known: dict[int, Process] = {}

        def gone() -> bool:
            collected(process(note.pid))
            known.update({each.pid: each for each in self._family(session_id, note)})
            return not any(_alive(each) for each in known.values())

        if not gone():
            send(signal.SIGTERM, known.values())
            send(signal.SIGCONT, known.values())  # a stopped process handles signals only after it continues
            try:
                await _until(gone, TERM_S, "")
            except DependencyError:
                send(signal.SIGKILL, known.values())
                await _until(gone, KILL_S, "a session's process cannot be killed")
        self._paths.clear_folder(note.key)
        self._file(session_id, "process").unlink(missing_ok=True)


def _alive(known: Process) -> bool:
    now = process(known.pid)
    return now is not None and now.started == known.started and now.alive


async def _until(done: Callable[[], bool], within_s: float, complaint: str) -> None:
    until = time.monotonic() + within_s
    while not done():
        if time.monotonic() > until:
            raise DependencyError("local sessions", complaint)
        await asyncio.sleep(POLL_S)
