"""Starts the process of a terminal as the agent's user, and reads and writes its screen or its pipes.

The descriptors of the screen's master side are opened here and stay here: the process gets the other side only. All
reads and writes are non-blocking, so a process that reads nothing or never ends a line holds up nobody.
"""

import asyncio
import fcntl
import os
import signal
import struct
import termios
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from jelmore_protocol.terminal import MAX_TYPED_BYTES, Stream
from jelmore_runner import processes
from jelmore_runner.settings import Settings

READ_BYTES: Final = 64 * 1024
END_GRACE_S: Final = 2.0
SHELL: Final = "/bin/bash"
_PTS_MODE: Final = 0o666
_END_OF_INPUT: Final = b"\x04"


@dataclass(frozen=True, slots=True)
class Launch:
    """What to start. `command` None is a login shell; `pty` False connects pipes instead of a screen."""

    command: str | None
    directory: Path
    environment: Mapping[str, str]
    columns: int
    rows: int
    pty: bool = True


class Spawns:
    """Counts starts in progress: until a pid is known, the runner must not reap an adopted process."""

    def __init__(self) -> None:
        self.starting = 0


class Shell:
    """A running process with its screen or pipes. `start` makes one; `close` must be called for each."""

    def __init__(self, process: Process, outputs: Mapping[int, Stream], keyboard: int | None, *, pty: bool) -> None:
        self.process = process
        self.pty = pty
        self._outputs = dict(outputs)
        self._keyboard = keyboard  # None after the end of the input
        self._typed = bytearray()
        self._closes_after = False
        self._room = asyncio.Event()
        self._room.set()
        self._reading = False
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def start(cls, settings: Settings, launch: Launch, spawns: Spawns) -> "Shell":
        """Start the process. Raises OSError."""
        near, outputs, far = _screen(launch, settings) if launch.pty else _pipes()
        try:
            process = await _spawn(settings, launch, spawns, far)
        except BaseException:
            for number in {near, *outputs}:
                os.close(number)
            raise
        finally:
            for number in set(far):
                os.close(number)
        return cls(process, outputs, near, pty=launch.pty)

    def read(self, on_output: Callable[[Stream, bytes], None]) -> None:
        """Call `on_output` with what arrives, until `pause` or the end. May be called again."""
        if not self._reading:
            self._reading = True
            for number, stream in self._outputs.items():
                self._loop.add_reader(number, self._read_once, number, stream, on_output)

    def pause(self) -> None:
        """Read no more for now: the process waits when its buffers are full."""
        if self._reading:
            self._reading = False
            for number in self._outputs:
                self._loop.remove_reader(number)

    def drain(self, on_output: Callable[[Stream, bytes], None], most_bytes: int) -> None:
        """Read what is left after the end of the process, up to `most_bytes`."""
        for number, stream in list(self._outputs.items()):
            left = most_bytes
            while left > 0 and (data := _read(number)):
                on_output(stream, data)
                left -= len(data)

    def _read_once(self, number: int, stream: Stream, on_output: Callable[[Stream, bytes], None]) -> None:
        data = _read(number)
        if data:
            on_output(stream, data)
        elif data == b"":
            self._loop.remove_reader(number)
            del self._outputs[number]
            if number != self._keyboard:
                os.close(number)

    async def write(self, data: bytes) -> None:
        """Write to the process. Waits while `MAX_TYPED_BYTES` are not taken yet. Without an input it does nothing."""
        while len(self._typed) >= MAX_TYPED_BYTES and self._keyboard is not None:
            self._room.clear()
            await self._room.wait()
        if self._keyboard is None or self._closes_after:
            return
        if not self._typed:
            self._loop.add_writer(self._keyboard, self._write_once)
        self._typed += data

    def end_input(self) -> None:
        """End the input after what was written: a screen gets Ctrl-D, a pipe is closed. May run twice."""
        if self._keyboard is None or self._closes_after:
            return
        if not self._typed:
            self._loop.add_writer(self._keyboard, self._write_once)
        if self.pty:
            self._typed += _END_OF_INPUT
        else:
            self._closes_after = True

    def _write_once(self) -> None:
        assert self._keyboard is not None  # noqa: S101 - the writer is removed when it is closed
        try:
            if self._typed:
                del self._typed[: os.write(self._keyboard, self._typed)]
        except BlockingIOError:
            return
        except OSError:  # nobody reads any more
            self._typed.clear()
        if len(self._typed) < MAX_TYPED_BYTES:
            self._room.set()
        if not self._typed:
            self._loop.remove_writer(self._keyboard)
            if self._closes_after:
                os.close(self._keyboard)
                self._keyboard = None

    def resize(self, columns: int, rows: int) -> None:
        """Set the size of the screen; the processes in the foreground get SIGWINCH when it differs."""
        if self.pty and self._keyboard is not None:
            _set_size(self._keyboard, columns, rows)

    async def kill(self) -> None:
        """End all processes of the terminal: SIGHUP, then SIGKILL after `END_GRACE_S`. Returns when it has ended."""
        for number in (signal.SIGHUP, signal.SIGCONT):
            processes.send(number, self._members())
        with suppress(TimeoutError):
            async with asyncio.timeout(END_GRACE_S):
                await self.process.wait()
        processes.send(signal.SIGKILL, self._members())
        await self.process.wait()

    def _members(self) -> list[int]:
        return processes.session_members(self.process.pid, ended=self.process.returncode is not None)

    def close(self) -> None:
        """Release the descriptors, after the process has ended. May run twice."""
        self.pause()
        processes.AWAITED.discard(self.process.pid)
        processes.TERMINALS.discard(self.process.pid)
        if self._keyboard is not None:
            self._loop.remove_writer(self._keyboard)
        for number in {*self._outputs, *([] if self._keyboard is None else [self._keyboard])}:
            os.close(number)
        self._outputs.clear()
        self._keyboard = None
        self._typed.clear()
        self._room.set()


def _screen(launch: Launch, settings: Settings) -> tuple[int, dict[int, Stream], tuple[int, int, int]]:
    near, far = os.openpty()
    os.set_blocking(near, False)
    _set_size(near, launch.columns, launch.rows)
    if settings.as_agent is not None:
        os.fchmod(far, _PTS_MODE)  # it belongs to `runner`, and programs of `agent` open it by its name
    return near, {near: Stream.STDOUT}, (far, far, far)


def _pipes() -> tuple[int, dict[int, Stream], tuple[int, int, int]]:
    far_input, near_input = os.pipe()
    near_output, far_output = os.pipe()
    near_errors, far_errors = os.pipe()
    for number in (near_input, near_output, near_errors):
        os.set_blocking(number, False)
    outputs = {near_output: Stream.STDOUT, near_errors: Stream.STDERR}
    return near_input, outputs, (far_input, far_output, far_errors)


async def _spawn(settings: Settings, launch: Launch, spawns: Spawns, far: tuple[int, int, int]) -> Process:
    """Start the process in a session of its own. It changes to its directory as the agent, and inherits three files."""
    wrapper = [] if settings.as_agent is None else [settings.as_agent]
    controlling = ["--ctty"] if launch.pty else []
    program = [SHELL, "-l"] if launch.command is None else [SHELL, "-lc", launch.command]
    command = [*wrapper, "env", f"--chdir={launch.directory}", "setsid", *controlling, "--", *program]
    spawns.starting += 1
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=far[0], stdout=far[1], stderr=far[2], env=dict(launch.environment), cwd="/"
        )
        processes.AWAITED.add(process.pid)
        processes.TERMINALS.add(process.pid)
    finally:
        spawns.starting -= 1
    return process


def _read(number: int) -> bytes | None:
    """Return what has arrived: nothing at the end, None when there is nothing yet."""
    try:
        return os.read(number, READ_BYTES)
    except BlockingIOError:
        return None
    except OSError:  # a screen without any process
        return b""


def _set_size(number: int, columns: int, rows: int) -> None:
    fcntl.ioctl(number, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
