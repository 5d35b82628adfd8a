"""One process of a stdio server: started with limits, in a process group and a folder of its own, ended as a whole."""

import asyncio
import os
import shutil
import signal
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog

from jelmore_gateway.stdio.config import StdioServer

_log = structlog.get_logger(__name__)

MAX_MESSAGE_BYTES: Final = 4 * 1024 * 1024
MAX_LINE_CHARACTERS: Final = 500
LINES_PER_MINUTE: Final = 60
"""Of what a process prints on standard error. The rest is read and dropped."""

WRITE_S: Final = 30.0
END_S: Final = 1.0
OPEN_FILES: Final = 256

_LIMITED: Final = 'ulimit -c 0 && ulimit -n "$1" && ulimit -d "$2" && ulimit -t "$3" && shift 3 && exec nice -n 5 "$@"'
"""Limits that children inherit, set before anything of the server runs. `-d` counts writable memory of its own, and not
addresses that are only reserved, of which Node takes many."""


class ProcessError(Exception):
    """A process cannot be started, or does not take its input. The text says why."""


class StdioProcess:
    """A running server. `user` is the uid that it gets when this process may choose one."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, folder: Path) -> None:
        self._name = name
        self._process = process
        self._folder = folder
        self._writing = asyncio.Lock()
        self._errors = asyncio.create_task(self._log_errors(), name=f"stderr of {name}")

    @classmethod
    async def start(
        cls, name: str, server: StdioServer, credentials: Mapping[str, str], user: int | None
    ) -> "StdioProcess":
        """Start a server. Raises ProcessError."""
        folder = Path(tempfile.mkdtemp(prefix="jelmore-mcp-"))
        own: dict[str, int | list[int]] = {}
        if user is not None:
            os.chown(folder, user, user)
            own = {"user": user, "group": user, "extra_groups": []}
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(folder),
            "TMPDIR": str(folder),
            **server.env,
            **credentials,
        }
        limits = [str(OPEN_FILES), str(server.memory_bytes // 1024), str(server.cpu_s)]
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
                cwd=folder,
                start_new_session=True,
                limit=MAX_MESSAGE_BYTES,
                **own,  # type: ignore[arg-type]  # each name has its own type
            )
        except BaseException as error:  # also when its client leaves meanwhile
            await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
            if isinstance(error, OSError | ValueError):
                raise ProcessError(f"mcp/{name} cannot be started: {error}") from None
            raise
        return cls(name, process, folder)

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

        May run twice. What a server has moved to another process group is not found.
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
            await asyncio.to_thread(shutil.rmtree, self._folder, ignore_errors=True)
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
