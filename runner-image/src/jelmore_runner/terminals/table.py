"""The terminals of a session: found by name, started when there is none, ended with the session."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from uuid import uuid4

from jelmore_protocol.frames import ErrorCode
from jelmore_protocol.terminal import DEFAULT_NAME, MAX_TERMINALS, OpenFrame
from jelmore_protocol.websocket_server import Client
from jelmore_runner.errors import RefusedError
from jelmore_runner.settings import Settings
from jelmore_runner.terminals.shell import SHELL, Launch, Shell, Spawns
from jelmore_runner.terminals.terminal import Terminal, TerminalClient

IN_USE_S: Final = 600.0
"""A terminal counts as work for this long after somebody typed into it."""

ENDED_KEPT: Final = 4
"""How many terminals that have ended can be read to their end."""

type StartTask = Callable[..., object]


class Terminals:
    """All terminals of one run of a session. `environment` is that of the agent's tools."""

    def __init__(
        self, settings: Settings, spawns: Spawns, start_task: StartTask, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._spawns = spawns
        self._start_task = start_task
        self._environment = environment
        self._terminals: dict[str, Terminal] = {}
        self._ended: deque[Terminal] = deque(maxlen=ENDED_KEPT)
        self._starting = asyncio.Lock()
        self._closed = False
        self._empty = asyncio.Event()
        self._empty.set()

    def in_use(self) -> int:
        """Return the number of terminals that were typed into within the last `IN_USE_S` seconds, or are waited for."""
        now = time.monotonic()
        return sum(terminal.awaited or now - terminal.used_at < IN_USE_S for terminal in self._terminals.values())

    @asynccontextmanager
    async def attach(self, client: Client, opening: OpenFrame) -> AsyncIterator[TerminalClient]:
        """Attach a client to a terminal; start one for a client that may type. Raises RefusedError."""
        if opening.instance is None:
            terminal, new = await self._find(client, opening)
        else:
            terminal, new = self._instance(opening.instance), False
        with terminal.attached(client, opening, new=new) as attached:
            yield attached

    async def end(self) -> None:
        """End all terminals and start no other. Returns when their processes have ended."""
        self._closed = True
        async with self._starting:
            for terminal in self._terminals.values():
                terminal.end()
        await self._empty.wait()

    def _instance(self, instance: str) -> Terminal:
        """Return a terminal that runs, or one that has ended lately: a client may not have received all of it."""
        for terminal in (*self._terminals.values(), *self._ended):
            if terminal.instance == instance:
                return terminal
        raise RefusedError(ErrorCode.UNKNOWN_REQUEST, "instance: this terminal has ended")

    async def _find(self, client: Client, opening: OpenFrame) -> tuple[Terminal, bool]:
        async with self._starting:
            name = opening.terminal or (DEFAULT_NAME if opening.command is None else f"command-{uuid4().hex[:12]}")
            found = self._terminals.get(name)
            if found is not None and found.exited is None:
                return found, False
            if opening.watch or not client.admission.can_write:
                raise RefusedError(ErrorCode.UNKNOWN_REQUEST, f"there is no terminal {name!r} to watch")
            if self._closed:
                raise RefusedError(ErrorCode.ENDED, "the session is ending")
            if len(self._terminals) >= MAX_TERMINALS:
                names = ", ".join(sorted(self._terminals))
                raise RefusedError(
                    ErrorCode.QUEUE_FULL, f"a session has at most {MAX_TERMINALS} terminals; end one of: {names}"
                )
            return await self._start(name, opening), True

    async def _start(self, name: str, opening: OpenFrame) -> Terminal:
        launch = Launch(
            command=opening.command,
            directory=self._directory(opening),
            environment=self._environment_of(opening),
            columns=opening.columns,
            rows=opening.rows,
            pty=opening.pty,
        )
        try:
            shell = await Shell.start(self._settings, launch, self._spawns)
        except OSError as error:
            raise RefusedError(ErrorCode.UNAVAILABLE, f"the terminal did not start: {error}") from None
        keeps = opening.command is None or opening.terminal is not None
        terminal = Terminal(name, uuid4().hex, shell, (opening.columns, opening.rows), keeps=keeps)
        self._terminals[name] = terminal
        self._empty.clear()
        self._start_task(f"terminal {name}", self._run(terminal), may_end=True)
        return terminal

    async def _run(self, terminal: Terminal) -> None:
        try:
            await terminal.run()
        finally:
            self._ended.append(terminal)
            if self._terminals.get(terminal.name) is terminal:
                del self._terminals[terminal.name]
            if not self._terminals:
                self._empty.set()

    def _directory(self, opening: OpenFrame) -> Path:
        if opening.cwd is None:
            return self._settings.workspace
        root, rest = self._settings.place(opening.cwd)
        return root / rest

    def _environment_of(self, opening: OpenFrame) -> dict[str, str]:
        return {**self._environment, "TERM": opening.term if opening.pty else "dumb", "SHELL": SHELL}
