"""One terminal: its process, the newest output, and the clients that watch it or type into it."""

import asyncio
import signal
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from jelmore_protocol.frames import CloseCode, ErrorCode
from jelmore_protocol.terminal import (
    RING_BYTES,
    Command,
    EndFrame,
    EofFrame,
    ExitFrame,
    GapFrame,
    OpenedFrame,
    OpenFrame,
    ResizeFrame,
    SizeFrame,
    Stream,
    StreamFrame,
    TakeFrame,
    WriterFrame,
)
from jelmore_protocol.websocket_server import Client, CloseError, Item
from jelmore_runner.errors import RefusedError
from jelmore_runner.terminals.keyboard import Keyboard
from jelmore_runner.terminals.ring import OutputRing
from jelmore_runner.terminals.shell import Shell

PIECE_BYTES: Final = 32 * 1024
AHEAD_BYTES: Final = RING_BYTES // 2
"""How far the output may be ahead of the client that types. Beyond it the process waits."""

REDRAW_S: Final = 0.1
"""Long enough for a busy program to see that its screen has changed."""

ABANDONED_S: Final = 60.0
"""How long a command without a client continues. A named shell continues until it ends."""


class Terminal:
    """A process, what it has written, and its clients. `run` must be awaited once."""

    def __init__(self, name: str, instance: str, shell: Shell, size: tuple[int, int], *, keeps: bool) -> None:
        self.name = name
        self.instance = instance
        self.keyboard: Keyboard[TerminalClient] = Keyboard()
        self.ring = OutputRing(RING_BYTES)
        self.size = size
        self.size_version = 0
        self.exited: ExitFrame | None = None
        self.used_at = time.monotonic()
        self._shell = shell
        self._keeps = keeps  # it continues without a client
        self._left_at: int | None = None  # the position of the writer of a command when it left
        self._ending = asyncio.Event()
        self._abandoned: asyncio.TimerHandle | None = None
        self._redrawn: asyncio.TimerHandle | None = None

    @property
    def pty(self) -> bool:
        """Whether it has a screen."""
        return self._shell.pty

    @property
    def awaited(self) -> bool:
        """Whether a client waits for the end of a command. A shell is left open, and nobody waits for its end."""
        return not self._keeps and bool(self.keyboard.clients)

    async def run(self) -> ExitFrame:
        """Read until the process ends, or `end` is called; end the others of its session; return how it ended."""
        self._shell.read(self._arrived)
        ended = asyncio.create_task(self._shell.process.wait(), name=f"process of terminal {self.name}")
        asked = asyncio.create_task(self._ending.wait(), name=f"end of terminal {self.name}")
        try:
            await asyncio.wait({ended, asked}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            asked.cancel()
            await asyncio.shield(self._finish())
            ended.cancel()
        assert self.exited is not None  # noqa: S101 - `_finish` sets it
        return self.exited

    async def _finish(self) -> None:
        for timer in (self._abandoned, self._redrawn):
            if timer is not None:
                timer.cancel()
        try:
            await self._shell.kill()
            self._shell.drain(self._arrived, RING_BYTES - AHEAD_BYTES)
        finally:
            self._shell.close()
            self.exited = _exit_of(self._shell.process.returncode)
            self._wake()

    def end(self) -> None:
        """End the processes. Returns at once. May run twice."""
        self._ending.set()

    @contextmanager
    def attached(self, client: Client, opening: OpenFrame, *, new: bool) -> Iterator["TerminalClient"]:
        """Attach a client while the block runs. Without clients, a command ends after `ABANDONED_S`."""
        start, gap = self.ring.resumes(opening.after)
        attached = TerminalClient(self, client, start, gap=gap, new=new)
        if gap and self.pty:
            attached.modes = self.ring.modes_at(start)
        wants = client.admission.can_write and not opening.watch
        if self._abandoned is not None:
            self._abandoned.cancel()
        self.keyboard.join(attached, wants=wants, take=opening.take)
        if self.keyboard.writer is attached:
            self._left_at = None
            self.resize(opening.columns, opening.rows)
        if gap:
            self.redraw()
        self._wake()
        try:
            yield attached
        finally:
            if self.keyboard.writer is attached and not self.pty:
                self._left_at = attached.cursor
            self.keyboard.leave(attached)
            self._wake()
            self.pace()
            if not self.keyboard.clients and not self._keeps and self.exited is None:
                self._abandoned = asyncio.get_running_loop().call_later(ABANDONED_S, self.end)

    async def write(self, data: bytes) -> None:
        """Write what was typed. Returns when there is room for more."""
        self.used_at = time.monotonic()
        await self._shell.write(data)

    def end_input(self) -> None:
        """End the input."""
        self._shell.end_input()

    def take(self, client: "TerminalClient") -> None:
        """Let this client type, and nobody else."""
        self.keyboard.take(client)
        self._wake()
        self.pace()

    def resize(self, columns: int, rows: int) -> None:
        """Change the size of the screen."""
        self._shell.resize(columns, rows)
        if self.pty and self.size != (columns, rows):
            self.size = (columns, rows)
            self.size_version += 1
            self._wake()

    def redraw(self) -> None:
        """Make the program in the foreground draw its whole screen: for a moment it has a row less.

        Most programs do not draw anything for a size that they have already.
        """
        columns, rows = self.size
        if self.pty and rows > 1 and self._redrawn is None:
            self._shell.resize(columns, rows - 1)
            self._redrawn = asyncio.get_running_loop().call_later(REDRAW_S, self._full_size)

    def _full_size(self) -> None:
        self._redrawn = None
        self._shell.resize(*self.size)

    def pace(self) -> None:
        """Read from the process while the client that types follows; without one, a screen continues by itself."""
        writer = self.keyboard.writer
        follows = writer.cursor if writer is not None else self._left_at
        if self.exited is None:
            if follows is None or self.ring.end - follows < AHEAD_BYTES:
                self._shell.read(self._arrived)
            else:
                self._shell.pause()

    def _arrived(self, stream: Stream, data: bytes) -> None:
        self.ring.add(stream, data)
        self._wake()
        self.pace()

    def _wake(self) -> None:
        for client in self.keyboard.clients:
            client.wake.set()


@dataclass(slots=True, eq=False)
class TerminalClient:
    """A client that is attached to a terminal: the `TerminalConnection` of the WebSocket server."""

    terminal: Terminal
    client: Client
    cursor: int  # the position of the next byte for this client
    gap: bool
    new: bool
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    modes: bytes = b""
    """Sent before the byte at `cursor`: what the output that is left out has switched the terminal to."""

    _stream: Stream = Stream.STDOUT
    _keyboard_version: int = 0
    _size_version: int = 0

    async def output(self) -> AsyncGenerator[Item]:
        """Yield `opened`, then what is new, until the terminal has ended and all was sent."""
        yield Item(self._opened().model_dump_json())
        while True:
            self.wake.clear()
            exited = self.terminal.exited  # looked at before reading, so that everything before the end is sent
            # Read at once with what it is read after: the ring moves on while something is sent.
            changes = [Item(text) for text in self._changes()]
            modes, self.modes = self.modes, b""
            stream, piece = self.terminal.ring.read(self.cursor, PIECE_BYTES)
            for change in changes:
                yield change
            if modes:
                yield Item("", data=modes)
            if piece:
                if stream is not self._stream:
                    self._stream = stream
                    yield Item(StreamFrame(stream=stream).model_dump_json())
                yield Item("", data=piece)
                self.cursor += len(piece)
                self.terminal.pace()
            elif exited is not None:
                yield Item(exited.model_dump_json())
                raise CloseError(CloseCode.ENDED)
            else:
                await self.wake.wait()

    async def typed(self, data: bytes) -> None:
        """Write bytes, if this client types. When no client types, this one does from now on. Raises RefusedError."""
        self._check_writer()
        await self.terminal.write(data)

    async def execute(self, frame: Command) -> None:
        """Carry out a frame. Raises RefusedError for a client that does not type."""
        match frame:
            case TakeFrame():
                self.terminal.take(self)
            case EndFrame():
                self.terminal.end()
            case ResizeFrame():
                self._check_writer()
                self.terminal.resize(frame.columns, frame.rows)
            case EofFrame():
                self._check_writer()
                self.terminal.end_input()

    def _check_writer(self) -> None:
        keyboard = self.terminal.keyboard
        if keyboard.writer is None:
            self.terminal.take(self)
        elif keyboard.writer is not self:
            by = keyboard.writer.client.admission.holder
            raise RefusedError(ErrorCode.CONFLICT, f"{by} types; send `take` to type yourself")

    def _opened(self) -> OpenedFrame:
        terminal = self.terminal
        self._keyboard_version, self._size_version = terminal.keyboard.version, terminal.size_version
        return OpenedFrame(
            terminal=terminal.name,
            instance=terminal.instance,
            new=self.new,
            position=self.cursor - len(self.modes),  # a client counts them too
            end=terminal.ring.end,
            gap=self.gap,
            pty=terminal.pty,
            columns=terminal.size[0],
            rows=terminal.size[1],
            **self._who(),
        )

    def _changes(self) -> Iterator[str]:
        """Yield a frame for each change since the last call. Several changes of one kind are one frame."""
        terminal = self.terminal
        if self._keyboard_version != terminal.keyboard.version:
            self._keyboard_version = terminal.keyboard.version
            yield WriterFrame(**self._who()).model_dump_json()
        if self._size_version != terminal.size_version:
            self._size_version = terminal.size_version
            yield SizeFrame(columns=terminal.size[0], rows=terminal.size[1]).model_dump_json()
        if self.cursor < terminal.ring.start:
            self.cursor = terminal.ring.line_start()
            self.modes = terminal.ring.modes_at(self.cursor) if terminal.pty else b""
            yield GapFrame(position=self.cursor - len(self.modes)).model_dump_json()

    def _who(self) -> "dict[str, bool | str | int | None]":
        keyboard = self.terminal.keyboard
        by = keyboard.writer.client.admission.holder if keyboard.writer is not None else None
        return {"writer": keyboard.writer is self, "by": by, "watchers": keyboard.watchers}


def _exit_of(code: int | None) -> ExitFrame:
    if code is None or code >= 0:
        return ExitFrame(code=code)
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = str(-code)
    return ExitFrame(code=128 - code, signal=name)
