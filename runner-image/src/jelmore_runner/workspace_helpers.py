"""Starts the helpers that work on the workspace's files, and passes bytes to and from them.

The runner reads nothing of what passes: a helper runs as the agent's user, so its output is as trustworthy as the
agent. Memory is bounded by the pipes' buffers, time by a deadline for each piece and one for the whole call.
"""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from starlette.requests import ClientDisconnect

from jelmore_protocol.frames import ErrorCode
from jelmore_runner import processes
from jelmore_runner.errors import RefusedError
from jelmore_runner.settings import Settings

MAX_AT_ONCE: Final = 8
PIECE_S: Final = 60.0
"""A call that moves no byte for this long is ended. `git` may work this long before its first byte."""

CALL_S: Final = 3600.0
PIECE_BYTES: Final = 256 * 1024
EXIT_S: Final = 5.0
DISCARDED_BYTES: Final = 4 * 1024 * 1024


class Helpers:
    """The helpers of one runner. While `starting` is not 0, a dead child may be one whose pid is not known yet."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._running = 0
        self._ending = set[asyncio.Task[None]]()
        self.starting = 0
        self.used = False  # whether there was a call: files may have changed
        self.used_at = time.monotonic()

    async def answer(self, body: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        """Give a call to a new helper; return its answer, which begins once the whole body is taken.

        Raises RefusedError when there are too many calls, or the helper takes nothing of the body in time. The answer
        raises ConnectionError when the helper fails in the middle, so that nobody takes it for complete.
        """
        if self._running >= MAX_AT_ONCE:
            await _discard(body)
            raise RefusedError(ErrorCode.QUEUE_FULL, f"{MAX_AT_ONCE} calls on the workspace run at once at most")
        self._running += 1
        self.used = True
        try:
            process = await self._start()
        except BaseException:
            self._running -= 1
            raise
        try:
            async with asyncio.timeout(CALL_S):
                await _feed(process, body)
                first = await _next(process)
        except (TimeoutError, ClientDisconnect, ConnectionError):
            await self._end(process)
            raise RefusedError(ErrorCode.UNAVAILABLE, "the call on the workspace did not get on in time") from None
        except BaseException:
            await self._end(process)
            raise
        rest = self._rest(process, first)
        await anext(rest)  # from here on, closing it, also early, ends the helper
        return rest

    async def _rest(self, process: Process, piece: bytes) -> AsyncGenerator[bytes]:
        try:
            yield b""
            async with asyncio.timeout(CALL_S):
                while piece:
                    yield piece
                    piece = await _next(process)
                async with asyncio.timeout(EXIT_S):
                    code = await process.wait()
            if code != 0:
                raise ConnectionError(f"a call on the workspace broke off ({code})")
        finally:
            await self._end(process)

    async def _start(self) -> Process:
        settings = self._settings
        command = [sys.executable, "-P", "-B", "-m", "jelmore_runner.workspace", str(settings.workspace)]
        if settings.as_agent is not None:
            command.insert(0, settings.as_agent)
        environment = {
            "PATH": settings.path,
            "LANG": "C.UTF-8",
            "HOME": str(settings.home),
            "PYTHONPATH": str(Path(__file__).parent.parent),
        }
        self.starting += 1
        try:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env=environment,
                cwd="/",
                limit=PIECE_BYTES,
                start_new_session=True,
            )
            processes.AWAITED.add(process.pid)
        finally:
            self.starting -= 1
        return process

    async def _end(self, process: Process) -> None:
        """Kill the helper and what it started, unless it has ended. Runs once for each helper.

        A caller that is cancelled does not wait for it; the end is completed all the same.
        """
        ending = asyncio.create_task(self._ended(process), name=f"end of helper {process.pid}")
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        await asyncio.shield(ending)

    async def _ended(self, process: Process) -> None:
        try:
            for number in (signal.SIGTERM, signal.SIGKILL):  # after SIGTERM it removes what is half-made
                if process.returncode is None:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, number)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(EXIT_S):
                            await process.wait()
        finally:
            processes.AWAITED.discard(process.pid)
            self._running -= 1
            self.used_at = time.monotonic()

    def idle_s(self) -> float:
        """Return the seconds since the last call ended; 0 while one runs."""
        return 0.0 if self._running else time.monotonic() - self.used_at


async def _discard(body: AsyncIterator[bytes]) -> None:
    """Read up to `DISCARDED_BYTES` of a body that nobody takes: a sender that cannot send it reads no refusal."""
    left = DISCARDED_BYTES
    with suppress(TimeoutError, ClientDisconnect):
        async with asyncio.timeout(EXIT_S):
            async for piece in body:
                left -= len(piece)
                if left < 0:
                    return


async def _feed(process: Process, body: AsyncIterator[bytes]) -> None:
    """Write the body to the helper. A helper that ended early leaves the rest unread, and its answer says why."""
    assert process.stdin is not None  # noqa: S101 - a pipe was asked for
    taken = True
    pieces = aiter(body)
    while True:
        async with asyncio.timeout(PIECE_S):
            try:
                piece = await anext(pieces)
            except StopAsyncIteration:
                break
            try:
                if taken:
                    process.stdin.write(piece)
                    await process.stdin.drain()
            except (BrokenPipeError, ConnectionResetError):
                taken = False
    process.stdin.close()


async def _next(process: Process) -> bytes:
    assert process.stdout is not None  # noqa: S101 - a pipe was asked for
    async with asyncio.timeout(PIECE_S):
        return await process.stdout.read(PIECE_BYTES)
