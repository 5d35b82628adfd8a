"""One process of a stdio server: started with limits, in a process group and a folder of its own, ended as a whole."""

import asyncio
import os
import shutil
import signal
import stat
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import structlog

from jelmore_gateway.stdio.config import StdioServer
from jelmore_gateway.stdio.users import MAX_PROCESSES, Users

_log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_LINE_CHARACTERS: Final = 500
LINES_PER_MINUTE: Final = 60
"""Of what a process prints on standard error. The rest is read and dropped."""

WRITE_S: Final = 30.0
END_S: Final = 1.0
OPEN_FILES: Final = 256
_SHARED: Final = (Path("/dev/shm"),)  # noqa: S108 - beside the folder of temporary files

_LIMITED: Final = (
    'ulimit -c 0 && ulimit -n "$1" && ulimit -d "$2" && ulimit -t "$3" && '
    '{ [ -z "$4" ] || ulimit -u "$4" 2>/dev/null || ulimit -p "$4"; } && shift 4 && exec nice -n 5 "$@"'
)
"""Limits that children inherit, set before anything of the server runs. `-d` counts writable memory of its own, and not
addresses that are only reserved, of which Node takes many. Processes are counted by user, so only a user of its own has
a limit of them; dash calls it `-p`."""


class ProcessError(Exception):
    """A process cannot be started, or does not take its input. The text says why."""


class _Place:
    """The folder of a server, and its user where it has one."""

    def __init__(self, users: Users | None) -> None:
        """Raises OSError when there is no room for a folder, and RuntimeError without a free user."""
        self._users = users
        self.folder = Path(tempfile.mkdtemp(prefix="jelmore-mcp-"))  # first: if it fails, no user is taken
        try:
            self.user = None if users is None else users.take()
            if self.user is not None:
                os.chown(self.folder, self.user, self.user)
        except BaseException:
            self.folder.rmdir()
            raise

    def identity(self) -> dict[str, Any]:
        """Return the arguments that start a process as this user."""
        return {} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}

    async def clear(self) -> None:
        """End what runs as this user, then remove the folder and what it left where all may write. May run twice."""
        user, self.user = self.user, None
        if self._users is not None and user is not None:
            await self._users.clear(user)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        if user is not None:
            await asyncio.to_thread(_remove_all_of, user, (self.folder.parent, *_SHARED))


def _remove_all_of(user: int, folders: tuple[Path, ...]) -> None:
    """Remove what a user, who has no process any more, left in these folders: they are small, and of all servers."""
    for folder in folders:
        for path in folder.glob("*"):
            with suppress(OSError):
                found = path.lstat()
                if found.st_uid != user:
                    continue
                if stat.S_ISDIR(found.st_mode):
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


class StdioProcess:
    """A running server, with a user of its own where `users` has them."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, place: "_Place") -> None:
        self._name = name
        self._process = process
        self._place = place
        self._writing = asyncio.Lock()
        self._errors = asyncio.create_task(self._log_errors(), name=f"stderr of {name}")

    @classmethod
    async def start(
        cls, name: str, server: StdioServer, credentials: Mapping[str, str], users: Users | None
    ) -> "StdioProcess":
        """Start a server. Raises ProcessError."""
        try:
            place = _Place(users)
        except (OSError, RuntimeError) as error:
            raise ProcessError(f"mcp/{name} cannot be started: {error}") from None
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(place.folder),
            "TMPDIR": str(place.folder),
            **server.env,
            **credentials,
        }
        limits = [str(OPEN_FILES), str(server.memory_bytes // 1024), str(server.cpu_s)]
        limits.append("" if place.user is None else str(MAX_PROCESSES))
        try:
            process = await asyncio.create_subprocess_exec(
                "/bin/sh",
                "-c",
                _LIMITED,
                "sh",
                *limits,
                server.command,
                *server.args,
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                env=environment,
                cwd=place.folder,
                start_new_session=True,
                limit=MAX_MESSAGE_BYTES,
                **place.identity(),
            )
        except BaseException as error:  # also when its client leaves meanwhile
            await place.clear()
            if isinstance(error, OSError | ValueError):
                raise ProcessError(f"mcp/{name} cannot be started: {error}") from None
            raise
        return cls(name, process, place)

    async def send(self, message: bytes) -> None:
        """Write one message, a line. Raises ProcessError when it is not taken in time.

        It waits for what was written before: a caller that left has not.
        """
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        try:
            async with asyncio.timeout(WRITE_S), self._writing:
                await self._process.stdin.drain()
                self._process.stdin.write(message + b"\n")
                await self._process.stdin.drain()
        except (TimeoutError, OSError, RuntimeError):
            raise ProcessError(f"mcp/{self._name} takes no message") from None

    async def messages(self) -> AsyncGenerator[bytes]:
        """Yield each line that it writes, until it ends or writes one that is too long."""
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        while True:
            try:
                line = await self._process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except (asyncio.LimitOverrunError, OSError):
                _log.warning("mcp_message_too_long", server=self._name, most_bytes=MAX_MESSAGE_BYTES)
                return
            if message := line.strip().replace(b"\r", b" "):  # in JSON a space as well; an event would end there
                yield message

    async def end(self) -> None:
        """End it with everything in its process group: its input first, which servers take as a request to end.

        May run twice. What a server has moved to another process group is found only if it has a user of its own.
        """
        self._errors.cancel()
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            async with asyncio.timeout(END_S):
                await self._process.wait()
        except TimeoutError:
            pass
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await self._place.clear()
        await self._process.wait()

    async def _log_errors(self) -> None:
        """Log what it prints on standard error, so many lines a minute; read all of it."""
        stream = self._process.stderr
        assert stream is not None  # noqa: S101 - it is a pipe
        minute, left, waiting = time.monotonic(), LINES_PER_MINUTE, b""
        while piece := await stream.read(16 * 1024):
            *lines, waiting = (waiting + piece).split(b"\n")
            waiting = waiting[-MAX_LINE_CHARACTERS:]
            if time.monotonic() - minute >= 60:  # noqa: PLR2004 - a minute
                minute, left = time.monotonic(), LINES_PER_MINUTE
            for line in lines[:left]:
                text = line[:MAX_LINE_CHARACTERS].decode("utf-8", "replace")
                _log.info("mcp_server_printed", server=self._name, text=text)
            left = max(0, left - len(lines))
