"""Starts, watches, restarts and stops one server as a child process.

Prevents two servers on one data folder, servers that outlive this process, and a Ctrl-C that kills the database before
the manager has saved.
"""

import asyncio
import contextlib
import errno
import fcntl
import json
import logging
import os
import shutil
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Self

from jelmore.embedded import launch
from jelmore.session.errors import JelmoreError
from jelmore.settings_addresses import MAX_SOCKET_PATH_BYTES

log = logging.getLogger(__name__)

MAX_LOG_BYTES: Final = 8 * 1024 * 1024
_POLL_S: Final = 0.02
_LOG_CHECK_INTERVAL_S: Final = 10.0
_FIRST_BACKOFF_S: Final = 0.1
_AILMENT_S: Final = 3.0
_LONGEST_BACKOFF_S: Final = 5.0
_MAX_DOUBLINGS: Final = 6
_LASTING_S: Final = 10.0
"""A server that ends sooner after it was started again gets a pause, as one that does not start."""

_LAST_LINES: Final = 15


class ServiceError(Exception):
    """A server could not be started. The message names it and contains its error, or the last lines that it printed."""


def reason_in(lines: str) -> str:
    """Return the error that a log of JSON lines names last; the lines as they are when it names none."""
    for line in reversed(lines.splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and entry.get("level") in {"error", "critical"} and entry.get("error"):
            return str(entry["error"])
    return lines


def backoff_s(failures: int) -> float:
    """Return the pause before a start after so many failures in a row."""
    return min(_FIRST_BACKOFF_S * 2 ** min(failures, _MAX_DOUBLINGS), _LONGEST_BACKOFF_S) if failures else 0.0


class Service(ABC):
    """A server of the quick start. Use as `async with`. `folder` holds its data and its log, `sockets` its sockets.

    The server runs in its own process session, so that a terminal's Ctrl-C does not reach it. The kernel signals it
    when the thread that started it ends, so start it from the main thread.
    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    death_signal: ClassVar[signal.Signals] = signal.SIGKILL
    start_timeout_s: ClassVar[float] = 20.0
    """How long a start may take whose process has not ended. One that ends has failed at once."""
    stop_timeout_s: ClassVar[float] = 10.0

    def __init__(self, folder: Path, sockets: Path) -> None:
        self.folder = folder.absolute()
        self.sockets = sockets.absolute()
        self.way = launch.PLAIN
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._watch: asyncio.Task[None] | None = None
        self._lock_file: int | None = None

    # --- defined by each server

    @abstractmethod
    async def prepare(self) -> None:
        """Write the files that the server needs. Runs before every start and restart."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the program, as an absolute path, and its arguments."""

    @abstractmethod
    async def answers(self) -> bool:
        """Return whether the server works. May raise OSError."""

    async def ails(self) -> str:
        """Return why the running server works only after another start; empty when it needs none. May raise OSError."""
        return ""

    def environment(self) -> Mapping[str, str]:
        """Return the server's environment."""
        return {"PATH": os.defpath, "LANG": "C.UTF-8", "TZ": "UTC", "HOME": str(self.folder)}

    def leftovers(self) -> list[Path]:
        """Return the files that a killed server leaves behind and that would prevent the next start."""
        return []

    # --- start and stop

    @property
    def pid(self) -> int | None:
        """The server's pid, None when it does not run."""
        return self._process.pid if self._process and self._process.returncode is None else None

    @property
    def log_path(self) -> Path:
        """The file with everything that the server prints."""
        return self.folder / f"{self.name}.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start the server; return when it answers. Raises ServiceError and then leaves no process behind."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise
        self._watch = asyncio.create_task(self._keep(), name=f"embedded-{self.name}")

    async def stop(self) -> None:
        """Stop the server, and kill it when that takes too long. May run twice."""
        if self._watch:
            self._watch.cancel()
            await asyncio.wait([self._watch])  # `await self._watch` could hide a cancellation of this call
            self._watch = None
        await asyncio.shield(self._end())

    async def kill(self) -> None:
        """Kill the server, as in a crash; the watch restarts it. Returns when the process is gone."""
        if self._process and self._process.returncode is None:
            self._signal(signal.SIGKILL)
            await self._process.wait()

    async def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.sockets.chmod(0o700)
        self._bound_log()
        await self._lock()
        for path in self.leftovers():
            path.unlink(missing_ok=True)
        await self.prepare()
        self._process = await self._spawn(self.command())
        await self._until_ready(self._process)

    async def _spawn(self, command: list[str]) -> asyncio.subprocess.Process:
        """Start `command` through the launcher. It inherits the lock, so the lock is held while the server runs."""
        launcher = [sys.executable, "-I", "-S", launch.__file__, str(os.getpid())]
        with self.log_path.open("ab") as output:
            return await asyncio.create_subprocess_exec(
                *launcher, str(int(self.death_signal)), self.way, *command,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                env=dict(self.environment()), cwd=self.folder, start_new_session=True,
                pass_fds=() if self._lock_file is None else (self._lock_file,),
            )  # fmt: skip

    async def run(self, command: list[str]) -> None:
        """Run a helper program of the server until it ends. Raises ServiceError with its last output."""
        process = await self._spawn(command)
        try:
            async with asyncio.timeout(self.start_timeout_s):
                await process.wait()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if process.returncode:
            raise ServiceError(f"{self.name}: {Path(command[0]).name} failed: {self.last_lines()}")

    async def _lock(self) -> None:
        """Wait until no process of an earlier run holds the lock of the data folder, then take it."""
        self._unlock()
        lock_file = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            async with asyncio.timeout(self.stop_timeout_s):
                while True:
                    try:
                        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        break
                    except BlockingIOError:
                        await asyncio.sleep(_POLL_S)
        except BaseException as error:
            os.close(lock_file)
            if isinstance(error, TimeoutError):
                raise ServiceError(f"{self.name}: {self.folder} is in use by another process") from None
            raise
        self._lock_file = lock_file

    def _unlock(self) -> None:
        if self._lock_file is not None:
            os.close(self._lock_file)
            self._lock_file = None

    async def _until_ready(self, process: asyncio.subprocess.Process) -> None:
        try:
            async with asyncio.timeout(self.start_timeout_s):
                while process.returncode is None:
                    with contextlib.suppress(OSError):
                        if await self.answers():
                            return
                    await asyncio.sleep(_POLL_S)
        except TimeoutError:
            raise ServiceError(f"{self.name} was not ready within {self.start_timeout_s:.0f} s") from None
        raise ServiceError(f"{self.name} ended with {process.returncode}: {reason_in(self.last_lines())}")

    async def _keep(self) -> None:
        """Restart the server whenever it ends unexpectedly, and limit the size of its log. Ends only when cancelled."""
        failures, born_at = 0, 0.0
        loop = asyncio.get_running_loop()
        while True:
            process = self._process
            if process is not None and process.returncode is None:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), _LOG_CHECK_INTERVAL_S)
                self._bound_log()
                if self.pid is None:
                    log.warning("%s ended with %s; starting it again", self.name, process.returncode)
                    failures = failures + 1 if born_at and loop.time() - born_at < _LASTING_S else 0
                elif why := await self._ailment():
                    log.warning("%s runs and does not work: %s; starting it again", self.name, why)
                else:
                    failures = 0
                    continue
            try:
                await asyncio.sleep(backoff_s(failures))
                await self._end()  # remaining processes of its group hold the data folder
                await self._start()
                self.restarts, born_at = self.restarts + 1, loop.time()
            except (ServiceError, JelmoreError, OSError) as error:
                failures += 1
                log.error("%s could not be started again: %s", self.name, error)  # noqa: TRY400 - the message is enough
            except Exception:  # without this task, nothing would start the server again
                failures += 1
                log.exception("%s could not be started again", self.name)

    async def _ailment(self) -> str:
        try:
            async with asyncio.timeout(_AILMENT_S):
                return await self.ails()
        except OSError:
            return ""

    async def _end(self) -> None:
        process = self._process
        if process is not None:
            if process.returncode is None:
                self._signal(self.stop_signal)
                try:
                    async with asyncio.timeout(self.stop_timeout_s):
                        await process.wait()
                except TimeoutError:
                    log.warning("%s did not stop within %.0f s; killing it", self.name, self.stop_timeout_s)
            self._signal(signal.SIGKILL, group=True)
            await process.wait()
            self._process = None
        if self._lock_file is not None:
            for path in self.leftovers():
                path.unlink(missing_ok=True)
        self._unlock()

    def _signal(self, number: signal.Signals, *, group: bool = False) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self._process.pid, number)

    # --- its log

    def last_lines(self) -> str:
        """Return the end of the log, for an error message."""
        with contextlib.suppress(OSError):
            return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-_LAST_LINES:])
        return ""

    def _bound_log(self) -> None:
        """Rotate a large log; keep one older copy. The file is copied and truncated: the server keeps writing to it.

        Without room for the copy the older lines go: a full disk must not end the watch, nor prevent a start.
        """
        older = self.log_path.with_suffix(".log.1")
        with contextlib.suppress(OSError):
            if self.log_path.stat().st_size <= MAX_LOG_BYTES:
                return
            try:
                shutil.copyfile(self.log_path, older)
            except OSError:
                older.unlink(missing_ok=True)
            os.truncate(self.log_path, 0)

    def socket(self, name: str) -> Path:
        """Return the path of a socket. Raises ServiceError when it is too long for the kernel."""
        path = self.sockets / name
        if len(os.fsencode(path)) > MAX_SOCKET_PATH_BYTES:
            raise ServiceError(f"{self.name}: {os.strerror(errno.ENAMETOOLONG)}: {path}; choose a shorter folder")
        return path
