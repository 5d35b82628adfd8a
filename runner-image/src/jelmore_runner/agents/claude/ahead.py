"""Starts Claude Code before its session is there, and decides whether the session can have that process.

A session must not notice: it gets a process that was started as its own would be, or it starts its own. What can be
changed in a live conversation is changed before the session's first prompt; everything else must be equal.
"""

import asyncio
from pathlib import Path
from typing import Final

import anyio

from jelmore_protocol.control import AgentAhead, AgentOptions, Prepare
from jelmore_runner.agents.claude.connection import Connection
from jelmore_runner.agents.claude.folders import end_leftovers, prepare_folders
from jelmore_runner.agents.claude.options import Launch, Start
from jelmore_runner.agents.claude.sdk_import import import_sdk
from jelmore_runner.settings import Settings
from jelmore_runner.supervisor import Supervisor

MAX_STARTS: Final = 3
"""How often it is started for one runner. Where it does not stay up, sessions start their own."""

CONNECT_DEADLINE_S: Final = 45.0
WARM_UP_DEADLINE_S: Final = 45.0
WARM_UP_PATIENCE_S: Final = 10.0
"""How long a session waits for the end of a warm-up. Without one, a slow machine has more time."""

CHANGE_DEADLINE_S: Final = 5.0
_LOOK_S: Final = 0.02

_LIVE: Final = {"permission_mode": "default"}
"""The options that a control request changes before the first prompt.

Not the model: Claude Code tries a new one with a call that costs. Not the effort: no request takes a choice back, and
no test shows that a changed one is the same as one from the start.
"""

_MANAGED: Final = (Path("/etc/claude-code"), Path("/Library/Application Support/ClaudeCode"))
"""Where Claude Code finds the settings of a machine's administrator, whose hooks no option leaves out."""

_OF_THE_RUNNER: Final = {"answer_within_s": 0.0, "permission_modes": None}
"""The options that Claude Code is not started with."""


def start_of(launch: Launch) -> Start:
    """Return the first start of a session that was just created with these options."""
    return Start(launch.session_id, resume=False, max_budget_usd=launch.options.max_budget_usd)


def fits(ahead: Launch, wanted: Launch, start: Start) -> bool:
    """Return whether the process that was started for `ahead` can become the one of `wanted`. Pure."""
    if start != Start(
        start.conversation_id,
        resume=False,
        permission_mode=start.permission_mode,
        max_budget_usd=start_of(ahead).max_budget_usd,
    ):
        return False
    if start.conversation_id != ahead.session_id or _fixed(ahead.options) != _fixed(wanted.options):
        return False
    if ahead.environment != wanted.environment or ahead.directory != wanted.directory:
        return False
    # Outside of a container, a process may skip all permissions if, and only if, it was started for that.
    skip = {mode == "bypassPermissions" for mode in (_mode(wanted, start), ahead.options.permission_mode)}
    return len(skip) == 1 or bool(wanted.settings.claude)


def may_rehearse(options: AgentOptions, *, managed: bool = False) -> bool:
    """Return whether a turn that fails has no effect elsewhere: it runs hooks, and a failing model is left. Pure.

    `managed`: the machine's administrator has settings for Claude Code.
    """
    return not (options.fallback_model or options.plugins or options.repository_hooks or managed)


def _fixed(options: AgentOptions) -> AgentOptions:
    return options.model_copy(update={**_LIVE, **_OF_THE_RUNNER})


def _mode(launch: Launch, start: Start) -> str:
    return start.permission_mode or launch.options.permission_mode


class Ahead:
    """At most one process of Claude Code that waits for its session. Use it from one event loop."""

    def __init__(self, settings: Settings, supervisor: Supervisor) -> None:
        self._settings = settings
        self._supervisor = supervisor
        self._launch: Launch | None = None  # what the process is, or was last, started with
        self._connection: Connection | None = None
        self._starting: asyncio.Task[None] | None = None
        self._starts = 0
        self._outcome: AgentAhead | None = None  # once the session is there
        self._check: tuple[Connection, asyncio.Task[None]] | None = None  # whether this process answers
        self._answers = False
        self._warms_up = True  # until a session is there
        self._rehearses = True  # until it fails
        self._warm_up_scope: anyio.CancelScope | None = None  # while it runs
        self._quiet = asyncio.Event()  # not set while the process may be making the calls of its warm-up
        self._quiet.set()

    @property
    def state(self) -> AgentAhead:
        """What there is now, or what has become of it."""
        if self._outcome is not None:
            return self._outcome
        if self._starting is not None and not self._starting.done():
            return AgentAhead.STARTING
        if self._connection is not None and self._connection.alive:
            return AgentAhead.CONNECTED
        return AgentAhead.NONE if self._launch is None else AgentAhead.FAILED

    @property
    def pid(self) -> int | None:
        """The pid of the process while it waits, else None."""
        return self._connection.pid if self._connection is not None else None

    def want(self, prepare: Prepare, gateway_port: int, egress_port: int) -> None:
        """Have a process that is started like this. Returns at once; may run any number of times.

        One that has ended is started again, up to `MAX_STARTS` times. While one is starting, this changes nothing.
        """
        if self._outcome is not None or self.state is AgentAhead.STARTING:
            return
        launch = Launch(self._settings, prepare.session_id, prepare.options, gateway_port, egress_port)
        if self._launch != launch:
            self._launch, self._starts = launch, 0
        elif self.state is AgentAhead.CONNECTED or self._starts >= MAX_STARTS:
            return
        self._starts += 1
        self._starting = self._supervisor.start("agent ahead", self._start(launch), may_end=True)

    def check(self) -> None:
        """Begin to ask the process whether it answers, while the session is still being opened. Returns at once."""
        if (connection := self._connection) is not None and connection.alive and self._check is None:
            self._check = connection, self._supervisor.start("agent check", self._ask(connection), may_end=True)

    async def _ask(self, connection: Connection) -> None:
        """Ask a process that waits whether it answers: the end of a process is noticed late."""
        try:
            with anyio.fail_after(CHANGE_DEADLINE_S):
                await connection.client.get_mcp_status()
            self._answers = True
        except Exception as error:  # noqa: BLE001 - whatever the reason, the session starts a process of its own
            _say(f"it does not answer: {error!r}")

    async def _answered(self, connection: Connection) -> bool:
        if self._check is None or self._check[0] is not connection:
            self._check, self._answers = None, False
            self.check()
        if self._check is not None:
            await asyncio.wait({self._check[1]})
        return self._answers

    async def take(self, wanted: Launch, start: Start, stopping: asyncio.Event) -> Connection | None:
        """Return the process if it fits, with the wanted options; else end it and return None. Called once."""
        ahead = self._launch
        self._outcome = AgentAhead.NONE if ahead is None else AgentAhead.DROPPED
        if ahead is None:
            return None
        if fits(ahead, wanted, start):
            await self._started(stopping)
            connection = self._connection
            usable = connection is not None and connection.alive and not stopping.is_set()
            if (
                connection is not None
                and usable
                and await self._answered(connection)
                and await _changed(connection, ahead.options, wanted, start)
            ):
                self._connection, self._outcome = None, AgentAhead.USED
                return connection
            if not stopping.is_set():
                self._outcome = AgentAhead.FAILED
        await self.end()
        return None

    async def end(self) -> None:
        """End the process, if it waits; the session does not get it. May run any number of times."""
        if self._outcome is None and self._launch is not None:
            self._outcome = AgentAhead.DROPPED
        if (scope := self._warm_up_scope) is not None:
            scope.deadline = anyio.current_time()  # it may wait for what a killed process does not say
        while self._starting is not None and not self._starting.done():
            if self._connection is not None:
                self._connection.kill()  # its start then fails
            await asyncio.wait({self._starting}, timeout=_LOOK_S)
        if (connection := self._connection) is not None:
            self._connection = None
            await connection.discard()

    async def _start(self, launch: Launch) -> None:
        try:
            await self._replace(launch)
        except Exception as error:  # noqa: BLE001 - whatever the reason, the session starts a process of its own
            _say(f"it could not be started: {error!r}")

    async def _replace(self, launch: Launch) -> None:
        if (old := self._connection) is not None:
            self._connection = None
            await old.discard()
        await asyncio.to_thread(import_sdk)
        await asyncio.to_thread(end_leftovers, launch)
        await asyncio.to_thread(prepare_folders, launch)
        self._connection = connection = Connection(launch, start_of(launch))
        failure = await connection.connect(_never, CONNECT_DEADLINE_S)
        if failure is not None:
            self._connection = None
            await connection.discard()
            _say(f"it did not start: {failure!r}")
        elif self._warms_up:
            await self._warm_up(connection)

    async def _warm_up(self, connection: Connection) -> None:
        """Have Claude Code run what else its first turn runs for the first time. Nothing of that stays.

        It counts the tokens of its prompt and tools with calls that the runner refuses while there is no session, and
        then estimates them: no message, no file, no cost, and a later count asks again (claude-agent-sdk 0.2.186). Then
        it has a turn, which is taken back. A process that does not finish, or may have kept something, is ended; the
        next one has no such turn.
        """
        self._quiet.clear()
        try:
            with anyio.fail_after(WARM_UP_DEADLINE_S) as self._warm_up_scope:
                managed = any(each.exists() for each in _MANAGED)
                may = self._rehearses and may_rehearse(connection.launch.options, managed=managed)
                if await _counted(connection) and may:
                    await connection.rehearse()
        except Exception as error:  # noqa: BLE001 - whatever the reason, the next one is started without a rehearsal
            self._rehearses = False
            self._connection = None
            await connection.discard()
            _say(f"its warm-up did not end well: {error!r}")
        finally:
            self._warm_up_scope = None
            self._quiet.set()

    async def quiet(self) -> None:
        """Return when the process makes no calls of its own, which are refused. Those after that are the session's."""
        self._warms_up = False
        if (scope := self._warm_up_scope) is not None:
            scope.deadline = min(scope.deadline, anyio.current_time() + WARM_UP_PATIENCE_S)
        await self._quiet.wait()

    async def _started(self, stopping: asyncio.Event) -> None:
        """Return when the start has ended, or when the session is stopped."""
        if self._starting is None:
            return
        stop = asyncio.create_task(stopping.wait(), name="agent ahead stop")
        try:
            await asyncio.wait({self._starting, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()


async def _counted(connection: Connection) -> bool:
    """Have Claude Code count the tokens of its prompt and tools; return whether it did. Raises TimeoutError."""
    try:
        await connection.client.get_context_usage()
    except TimeoutError:
        raise  # it may still be calling
    except Exception as error:  # noqa: BLE001 - without it, the first turn is only slower
        _say(f"no warm-up: {error!r}")
        return False
    return True


async def _changed(connection: Connection, before: AgentOptions, wanted: Launch, start: Start) -> bool:
    """Change the permission mode if it differs; return whether Claude Code has done it."""
    mode, client = _mode(wanted, start), connection.client
    try:
        if mode != before.permission_mode:
            connection.unasked_mode = mode
            with anyio.fail_after(CHANGE_DEADLINE_S):
                await client.set_permission_mode(mode)  # type: ignore[arg-type]  # checked by the CLI
    except Exception as error:  # noqa: BLE001 - whatever the reason, the session starts a process of its own
        _say(f"it could not be changed: {error!r}")
        return False
    return connection.alive


async def _never() -> None:
    await asyncio.Event().wait()


def _say(text: str) -> None:
    print(f"runner: agent ahead: {text}", flush=True)  # noqa: T201 - the container's log
