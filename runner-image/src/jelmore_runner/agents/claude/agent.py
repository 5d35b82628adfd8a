"""One process of Claude Code: starts it, writes prompts, reads messages and ends it.

The SDK's client must be used from one task and closed under a shield: a cancellation inside the client skips its
cleanup and leaves a process behind.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio

from jelmore_protocol.control import Command, InputRequest, McpServer
from jelmore_protocol.frames import ErrorCode
from jelmore_runner import processes
from jelmore_runner.agents.claude import elicitations, mcp_status
from jelmore_runner.agents.claude.client_process import (
    as_stream,
    disconnect,
    exit_code,
    kill_tree,
    read_command,
)
from jelmore_runner.agents.claude.connection import END_DEADLINE_S, Connection
from jelmore_runner.agents.claude.messages import Translator
from jelmore_runner.agents.claude.restarts import Ending
from jelmore_runner.agents.claude.rewind import Rewind
from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError

if TYPE_CHECKING:
    from claude_agent_sdk import ClaudeSDKClient

COMMAND_DEADLINE_S: Final = 10.0
INTERRUPT_AGAIN_S: Final = 1.0
WRITE_DEADLINE_S: Final = 60.0
MAX_COMMANDS: Final = 1024
REWIND_GRACE_S: Final = 5.0
REWIND_DEADLINE_S: Final = 80.0

type Job = Callable[["ClaudeSDKClient"], Awaitable[None]]


@dataclass(slots=True)
class _Job:
    run: Job
    done: "asyncio.Future[None] | None" = None


@dataclass(slots=True)
class Agent:
    """One process of Claude Code. `run` is called once; call the other methods while it runs."""

    connection: Connection
    session: Conversation
    on_start: Callable[[], None]
    _jobs: asyncio.Queue[_Job] = field(default_factory=lambda: asyncio.Queue(MAX_COMMANDS))
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _grace_s: float = 10.0
    _final: bool = True
    _given: str | None = None  # the input last written to Claude Code
    rewinding: Rewind | None = None  # what its end is for, if it is for that

    @property
    def pid(self) -> int | None:
        """Claude Code's pid once it takes commands, else None."""
        return self.connection.pid

    async def run(self) -> Ending:
        """Run until the process ends or `stop` is called; then end all its child processes. Raises no SDK error.

        Connects first, if that has not happened yet.
        """
        connection = self.connection
        if not connection.connected:
            failure = await connection.connect(self._stopped_long_enough)
            if failure is not None:
                return Ending(False, connection.start.resume, exit_code(failure), self._last_words(failure))
        client = connection.client
        elicitations.install(client, self.session)
        reader = asyncio.create_task(self._read(client), name="agent reader")
        commander = asyncio.create_task(self._obey(client), name="agent commands")
        stopper = asyncio.create_task(self._stop.wait(), name="agent stop")
        try:
            self.on_start()
            self.session.agent_started(self)
            await asyncio.wait({reader, commander, stopper}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.session.agent_stopping()
            await self._close(client, [commander, stopper], reader)
        return self._ending(reader, commander)

    def stop(self, grace_s: float, *, final: bool) -> None:
        """Ask `run` to end within about `grace_s`. Only the first call has an effect.

        If `final` is false, the session resumes later: a running turn is terminated and reported as interrupted, so
        that clients are offered to run it again. If `final` is true, the turn is interrupted and ends with a result.
        """
        if not self._stop.is_set():
            self._grace_s = grace_s
            self._final = final
            self._stop.set()

    # Commands from the conversation and the control socket

    def prompt(self, request: InputRequest, mark: int) -> None:
        """Write the prompt to Claude Code once event `mark` is durable."""

        async def write(client: "ClaudeSDKClient") -> None:
            await self.session.journal.durable(mark)
            await self.session.turn_begins(request.id)
            if self.session.before_tool is not None and (
                request.expand or self.connection.launch.options.repository_hooks
            ):
                await self.session.before_tool()  # a command or a hook of the repository may run before any tool
            self._given = request.id
            content = await self._content(request)
            with anyio.fail_after(WRITE_DEADLINE_S):
                await client.query(as_stream(request, content))

        self._jobs.put_nowait(_Job(write))

    async def _content(self, request: InputRequest) -> str | list[dict[str, Any]]:
        if request.content is None:
            return request.input
        return await asyncio.to_thread(self.session.attachments.api_blocks, request.content)

    async def interrupt(self) -> None:
        """Stop the running turn and return when it has ended. Raises RefusedError when Claude Code does not stop."""
        running = self.session.turn.running
        if running is not None or self.session.turn.busy:
            await self._ask(lambda client: self._interrupt(client, running))

    async def set_model(self, model: str) -> None:
        """Change the model, from the next request on. Raises RefusedError."""
        await self._ask(lambda client: client.set_model(model))

    async def set_permission_mode(self, mode: str) -> None:
        """Change which tools need a permission. Raises RefusedError."""
        await self._ask(lambda client: client.set_permission_mode(mode))  # type: ignore[arg-type]  # checked by the CLI
        self.session.permission_mode_is(mode)

    async def set_effort(self, effort: str) -> None:
        """Change how much effort the model puts into its answers, from the next request on. Raises RefusedError."""
        await self._ask(lambda _: self.connection.set_effort(effort))

    async def commands(self) -> list[Command]:
        """Return the slash commands as of the start of the process. Raises RefusedError."""
        found: list[Command] = []

        async def look(client: "ClaudeSDKClient") -> None:
            info = await client.get_server_info() or {}
            found.extend(command for each in info.get("commands") or [] if (command := read_command(each)) is not None)

        await self._ask(look)
        return found

    async def mcp_servers(self) -> list[McpServer]:
        """Return the MCP servers with their state. Raises RefusedError."""
        found: list[McpServer] = []

        async def look(client: "ClaudeSDKClient") -> None:
            found.extend(mcp_status.servers(await client.get_mcp_status()))

        await self._ask(look)
        return found

    async def reconnect_mcp(self, name: str) -> None:
        """Connect to an MCP server again. Raises RefusedError."""
        await self._ask(lambda client: client.reconnect_mcp_server(name))

    async def toggle_mcp(self, name: str, *, enabled: bool) -> None:
        """Use an MCP server, or do not, until the process ends. Raises RefusedError."""
        await self._ask(lambda client: client.toggle_mcp_server(name, enabled))

    async def rewind(self, input_id: str, between: Callable[[], Awaitable[None]]) -> None:
        """Forget an input and what follows; see `LiveAgent`. The end of this process makes `Lifecycle` carry it out."""
        if self._stop.is_set():
            raise RefusedError(ErrorCode.UNAVAILABLE, "Claude Code is being stopped")
        self.rewinding = Rewind(input_id, between, asyncio.get_running_loop().create_future())
        self.stop(REWIND_GRACE_S, final=True)
        try:
            async with asyncio.timeout(REWIND_DEADLINE_S):
                await self.rewinding.done
        except TimeoutError:
            raise RefusedError(ErrorCode.UNAVAILABLE, "Claude Code did not end in time") from None

    async def _ask(self, command: Job) -> None:
        job = _Job(command, asyncio.get_running_loop().create_future())
        assert job.done is not None  # noqa: S101 - for the type checker
        try:
            async with asyncio.timeout(COMMAND_DEADLINE_S * 2):
                await self._jobs.put(job)
                await job.done
        except TimeoutError:
            raise RefusedError(ErrorCode.UNAVAILABLE, "Claude Code did not answer in time") from None

    async def _interrupt(self, client: "ClaudeSDKClient", running: str | None) -> None:
        """Stop the turn of input `running`, or the agent's own work if that is None. Never stops a later turn.

        Claude Code ignores an interrupt that arrives before the turn starts. So this method waits for the start and
        repeats the interrupt. It also stops a turn without an input that delays the turn of `running`.
        """
        if running is not None and self._given != running:
            return
        with anyio.fail_after(COMMAND_DEADLINE_S):
            while self.session.turn.running == running and (running is not None or self.session.turn.busy):
                turn = self.session.turn
                under_way = running is None or turn.started or turn.other
                if under_way:
                    await client.interrupt()
                with anyio.move_on_after(INTERRUPT_AGAIN_S if under_way else COMMAND_DEADLINE_S):
                    await self._until(lambda before=turn: self.session.turn != before)  # type: ignore[misc]

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._next_message()

    async def _next_message(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    # Commands and messages

    async def _obey(self, client: "ClaudeSDKClient") -> None:
        from claude_agent_sdk import ClaudeSDKError

        while True:
            job = await self._jobs.get()
            try:
                await job.run(client)
            except ClaudeSDKError as error:
                _fail(job, ErrorCode.UNAVAILABLE, f"Claude Code is not reachable: {error}")
                if job.done is None:
                    return  # a prompt cannot be written because the process is ending; the reader reports why
            except TimeoutError:
                _fail(job, ErrorCode.UNAVAILABLE, "Claude Code did not answer in time")
                if job.done is None:
                    return
            except Exception as error:  # noqa: BLE001 - the SDK raises bare exceptions for the CLI's own refusals
                _fail(job, ErrorCode.CONFLICT, str(error))
                if job.done is None:
                    return
            else:
                if job.done is not None and not job.done.done():
                    job.done.set_result(None)

    async def _read(self, client: "ClaudeSDKClient") -> None:
        """Pass every message to the conversation. Returns or raises when the process has ended."""
        from claude_agent_sdk._errors import MessageParseError  # not exported, and the only way to recognise it

        translator = Translator(self.session)

        async def take(message: Any) -> None:
            await self.session.journal.room()
            if not self._belongs_to_start(message):
                translator.take(message)
            self._changed.set()

        for message in self.connection.earlier:
            await take(message)
        while True:
            try:
                async for message in client.receive_messages():
                    await take(message)
            except MessageParseError as error:
                # The generator has ended but its stream has not: a new generator reads on.
                self.session.error("message_unreadable", str(error)[:500])
                continue
            return

    def _belongs_to_start(self, message: object) -> bool:
        """Return whether the message reports the mode that this process got for its session, once, after its start."""
        data = getattr(message, "data", None)
        mode = self.connection.unasked_mode
        if mode is None or not isinstance(data, dict) or data.get("subtype") != "status":
            return False
        if data.get("status") is not None or data.get("permissionMode") != mode:
            return False
        self.connection.unasked_mode = None
        return True

    # Start and end

    async def _stopped_long_enough(self) -> None:
        """Return half of the grace period after a stop: a start that hangs must not delay it."""
        await self._stop.wait()
        await asyncio.sleep(self._grace_s / 2)

    async def _close(
        self, client: "ClaudeSDKClient", helpers: list["asyncio.Task[Any]"], reader: "asyncio.Task[None]"
    ) -> None:
        for helper in helpers:
            helper.cancel()
        await asyncio.wait(helpers)
        self._refuse_jobs()
        ending = asyncio.create_task(self._end(client), name="agent end")
        cancelled = False
        while not ending.done():  # a cancellation from outside must not cut the cleanup short
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError:
                cancelled = True
        await asyncio.wait({reader}, timeout=1)
        reader.cancel()
        await asyncio.wait({reader})
        if cancelled:
            raise asyncio.CancelledError  # passed on once the cleanup is complete

    def _refuse_jobs(self) -> None:
        while not self._jobs.empty():
            _fail(self._jobs.get_nowait(), ErrorCode.UNAVAILABLE, "Claude Code is being stopped")

    async def _end(self, client: "ClaudeSDKClient") -> None:
        """Interrupt or terminate the turn, close, send TERM, then KILL; at last kill what the tools left running."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._grace_s
        process = self.connection.process
        alive = process is not None and process.returncode is None
        running = self.session.turn.running is not None
        if alive and running and not self._final and self.pid is not None:
            processes.send(signal.SIGTERM, [self.pid])
        elif alive and self._grace_s > 0 and running:
            with anyio.move_on_after(min(3.0, self._grace_s / 2)):
                with suppress(Exception):  # an agent that does not react is killed below
                    await self._interrupt(client, self.session.turn.running)
        closing = asyncio.create_task(disconnect(client), name="agent disconnect")
        await asyncio.wait({closing}, timeout=max(0.0, (deadline - loop.time()) * 0.6))
        if not closing.done() and self.pid is not None:
            processes.send(signal.SIGTERM, [self.pid])
            await asyncio.wait({closing}, timeout=max(0.0, deadline - loop.time()))
        if not closing.done() and self.pid is not None:
            processes.send(signal.SIGKILL, [self.pid])
        await asyncio.wait({closing}, timeout=END_DEADLINE_S)
        if self.session.before_tool is not None:
            await self.session.before_tool()  # what keeps the workspace for a rewind would be killed with the rest
        unwaited = process is not None and process.returncode is None
        await asyncio.to_thread(kill_tree, self.pid if unwaited else None)

    def _ending(self, reader: "asyncio.Task[None]", commander: "asyncio.Task[None]") -> Ending:
        failure = None if reader.cancelled() else reader.exception()
        process = self.connection.process
        code = process.returncode if process is not None else None
        if code is None:
            code = exit_code(failure) if failure else 0
        if code == 0 and not self._stop.is_set() and (failure is not None or not commander.cancelled()):
            code = 1  # the connection to the process failed, so this is not a clean exit
        return Ending(True, self.connection.start.resume, code, self._last_words(failure))

    def _last_words(self, failure: BaseException | None) -> str:
        return "\n".join([*self.connection.stderr.lines, *([str(failure)] if failure else [])])[-4000:]


def _fail(job: _Job, code: ErrorCode, text: str) -> None:
    if job.done is not None and not job.done.done():
        job.done.set_exception(RefusedError(code, text))
