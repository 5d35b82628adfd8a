"""What `jelmore shell` does while it is connected: keys and sizes one way, output the other way."""

import asyncio
import os
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from jelmore_client import AsyncJelmore, AsyncTerminal
from jelmore_client.cli.app import OK
from jelmore_client.cli.contexts import Server
from jelmore_client.cli.printing import say
from jelmore_client.core.terminals import Unasked
from jelmore_client.errors import JelmoreError

_ESCAPE: Final = ord("~")
_NEWLINES: Final = b"\r\n"
_READ_BYTES: Final = 16 * 1024
_END_S: Final = 5.0
_SAID_ATTEMPT: Final = 3
_LEAVE: Final = b"\x1b[?1049l\x1b[?25h\x1b[?2004l\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[0m\r\n"
"""Ends what a program on the other side may have switched on: its own screen, mouse reports, a hidden cursor."""

_HELP: Final = "\r\n~.  leave it running   ~t  take the keyboard   ~~  send ~   ~?  this text\r\n"


class Key(StrEnum):
    """What an escape sequence asks for."""

    LEAVE = "."
    TAKE = "t"
    HELP = "?"


@dataclass(slots=True)
class EscapeKeys:
    """Finds `~.`, `~t` and `~?` at the beginning of a line in what is typed, and takes them out. Pure."""

    _at_start: bool = True
    _escaped: bool = False

    def feed(self, typed: bytes) -> tuple[bytes, list[Key]]:
        """Return what is to be sent, and what is asked for."""
        sent, asked = bytearray(), list[Key]()
        for byte in typed:
            if self._escaped:
                self._escaped = False
                if chr(byte) in set(Key):
                    asked.append(Key(chr(byte)))
                    self._at_start = True
                    continue
                if byte != _ESCAPE:
                    sent.append(_ESCAPE)
            elif byte == _ESCAPE and self._at_start:
                self._escaped = True
                continue
            sent.append(byte)
            self._at_start = byte in _NEWLINES
        return bytes(sent), asked


async def visit(server: Server, session_id: str, opening: dict[str, Any]) -> int:
    """Stay in a terminal until it ends or the user leaves. Returns the exit code. Raises JelmoreError."""
    async with AsyncJelmore(server.url, api_key=server.api_key) as client:
        session = await client.sessions.get(session_id)
        async with session.terminal(**opening) as terminal:
            stay = _Visit(terminal, interactive=opening["pty"] and sys.stdin.isatty())
            terminal.on_retry = stay.retries
            try:
                with _raw() if stay.interactive else _plain():
                    return await stay.run(watch=bool(opening["watch"]))
            finally:
                if opening["command"] is not None and not terminal.state.ended and not stay.left:
                    with suppress(Exception):
                        async with asyncio.timeout(_END_S):
                            await terminal.end()


@contextmanager
def _raw() -> Iterator[None]:
    """Pass every key on while the block runs; then restore the terminal."""
    before = termios.tcgetattr(sys.stdin.fileno())
    tty.setraw(sys.stdin.fileno())
    try:
        yield
    finally:
        _write(sys.stdout.fileno(), _LEAVE)
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, before)


@contextmanager
def _plain() -> Iterator[None]:
    yield


def _write(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]


@dataclass(slots=True)
class _Visit:
    """One use of the command. Keys are read by a thread: a read of standard input cannot be cancelled."""

    terminal: AsyncTerminal
    interactive: bool
    left: bool = False
    _leaving: asyncio.Event = field(default_factory=asyncio.Event)
    _keys: EscapeKeys = field(default_factory=EscapeKeys)
    _unasked: Unasked = field(default_factory=Unasked)
    _shown: str = ""

    async def run(self, *, watch: bool) -> int:
        loop = asyncio.get_running_loop()
        if self.interactive:
            loop.add_signal_handler(signal.SIGWINCH, lambda: loop.create_task(self._resize(), name="resize"))
        if not watch or self.interactive:
            threading.Thread(target=self._read_keys, args=(loop,), name="keys", daemon=True).start()
        if not self.terminal.state.writer and not watch:
            self._say(f"{self.terminal.state.by or 'nobody'} types; press Enter, then ~t to type yourself")
        tasks = [
            asyncio.create_task(self._show(), name="output"),
            asyncio.create_task(self._leaving.wait(), name="leave"),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self._leaving.is_set():
            self.left = True
            return OK
        tasks[0].result()
        return self.terminal.state.exit_code or OK

    async def _show(self) -> None:
        """Write what the terminal writes, until it ends."""
        while not self.terminal.state.ended:
            output = await self.terminal.read()
            if output is not None:
                data = self._unasked.feed(output) if self.interactive else output.data
                _write(2 if output.stream == "stderr" else 1, data)
            elif self.terminal.state.opened and self.terminal.state.problem != self._shown:
                self._shown = self.terminal.state.problem
                self._say(self._shown)

    def retries(self, error: JelmoreError, _delay_s: float) -> None:
        """Say that the connection is broken for longer than a moment."""
        if self.terminal.state.attempts == _SAID_ATTEMPT:
            how = "; Enter, then ~. leaves" if self.interactive else ""
            self._say(f"{error}; trying again{how}")

    async def _resize(self) -> None:
        size = shutil.get_terminal_size()
        await self.terminal.resize(max(1, size.columns), max(1, size.lines))

    def _say(self, text: str) -> None:
        say(f"\r\n[{text}]\r" if self.interactive else text)

    def _read_keys(self, loop: asyncio.AbstractEventLoop) -> None:
        with suppress(RuntimeError, OSError):  # the loop or the terminal has ended
            while typed := os.read(sys.stdin.fileno(), _READ_BYTES):
                asyncio.run_coroutine_threadsafe(self._typed(typed), loop).result()
            asyncio.run_coroutine_threadsafe(self.terminal.end_input(), loop).result()

    async def _typed(self, typed: bytes) -> None:
        sent, asked = self._keys.feed(typed) if self.interactive else (typed, [])
        if sent:
            await self.terminal.write(sent)
        for key in asked:
            match key:
                case Key.LEAVE:
                    self._leaving.set()
                case Key.TAKE:
                    await self.terminal.take()
                    await self._resize()
                case Key.HELP:
                    _write(1, _HELP.encode())
