"""A process of Claude Code and the SDK's client of it, which may be there before its session is."""

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio

from jelmore_runner import processes
from jelmore_runner.agents.claude.answers import Asker
from jelmore_runner.agents.claude.client_process import disconnect, process_of
from jelmore_runner.agents.claude.hooks import Observer, build_hooks
from jelmore_runner.agents.claude.mirror import Mirror
from jelmore_runner.agents.claude.options import Launch, Start, build_options
from jelmore_runner.agents.claude.rehearsal import Rehearsal
from jelmore_runner.agents.claude.standard_error import StandardError
from jelmore_runner.transcripts import NotKeptError

if TYPE_CHECKING:
    from claude_agent_sdk import (
        ClaudeSDKClient,
        PermissionResultAllow,
        PermissionResultDeny,
        SessionKey,
        SessionStoreEntry,
        ToolPermissionContext,
    )

START_DEADLINE_S: Final = 90.0
END_DEADLINE_S: Final = 25.0  # the SDK's own sequence of close, TERM and KILL takes up to about 20 s


class Callbacks:
    """What Claude Code calls in the runner. The calls wait until there is a session; before its first prompt, it makes
    none but those of a rehearsal.
    """

    def __init__(self) -> None:
        self._bound = asyncio.Event()
        self._asker: Asker | None = None
        self._hook: Observer | None = None
        self._mirror: Mirror | None = None
        self.rehearsal: Rehearsal | None = None
        """Gets what is written to the transcript while it runs, and after it has failed: there is no session then."""

    def bind(self, asker: Asker, hook: Observer, mirror: Mirror) -> None:
        """Let the calls reach a session. Called once."""
        self._asker, self._hook, self._mirror = asker, hook, mirror
        self._bound.set()

    def refuse(self) -> None:
        """End the calls that wait: there will be no session."""
        self._bound.set()

    async def ask(
        self, tool: str, tool_input: dict[str, Any], context: "ToolPermissionContext"
    ) -> "PermissionResultAllow | PermissionResultDeny":
        """Return whether a tool may be used."""
        from claude_agent_sdk import PermissionResultDeny

        await self._bound.wait()
        if self._asker is None:
            return PermissionResultDeny(message="there is no session")
        return await self._asker(tool, tool_input, context)

    async def observe(self, hook_input: Any, tool_use_id: str | None, context: Any) -> Any:
        """Pass on what a hook reports."""
        await self._bound.wait()
        return {} if self._hook is None else await self._hook(hook_input, tool_use_id, context)

    async def append(self, key: "SessionKey", entries: "list[SessionStoreEntry]") -> None:
        """Keep entries of a transcript, as `Mirror`. Raises NotKeptError or OSError."""
        if self.rehearsal is not None:
            self.rehearsal.wrote(entries)
            return
        await self._bound.wait()
        if self._mirror is None:
            raise NotKeptError("there is no session")
        await self._mirror.append(key, entries)

    async def load(self, key: "SessionKey") -> "list[SessionStoreEntry] | None":  # noqa: ARG002
        """Return None, as `Mirror` does."""
        return None


@dataclass(slots=True)
class Connection:
    """One process of Claude Code. Call `connect` once, then use it from one `Agent`, or `discard` it."""

    launch: Launch
    start: Start
    callbacks: Callbacks = field(default_factory=Callbacks)
    stderr: StandardError = field(default_factory=StandardError)
    connected: bool = False
    unasked_mode: str | None = None  # Claude Code reports this change of its mode, which belongs to its start
    earlier: list[Any] = field(default_factory=list)  # messages of its start that were read before there was a session
    _client: "ClaudeSDKClient | None" = None

    @property
    def client(self) -> "ClaudeSDKClient":
        """The SDK's client, once `connect` was called."""
        assert self._client is not None  # noqa: S101 - for the type checker
        return self._client

    @property
    def process(self) -> Any:
        """The process, from its start on; None before."""
        return process_of(self._client) if self._client is not None else None

    @property
    def pid(self) -> int | None:
        """The pid of the process once it is connected, else None."""
        return self.process.pid if self.connected and self.process is not None else None

    @property
    def alive(self) -> bool:
        """Whether the process is connected and has not ended."""
        return self.connected and self.process is not None and self.process.returncode is None

    async def connect(
        self, stopped: Callable[[], Awaitable[None]], deadline_s: float = START_DEADLINE_S
    ) -> Exception | None:
        """Start Claude Code and connect; return why that failed. Gives up when `stopped` returns."""
        from claude_agent_sdk import ClaudeSDKClient

        self._client = client = ClaudeSDKClient(
            build_options(
                self.launch,
                self.start,
                can_use_tool=self.callbacks.ask,
                hooks=build_hooks(self.callbacks.observe),
                stderr=self.stderr.take,
                store=self.callbacks,  # type: ignore[arg-type]  # the SDK looks for the optional methods itself
            )
        )
        with anyio.move_on_after(deadline_s) as scope:
            stopper = asyncio.create_task(_cancel_after(stopped, scope), name="agent start")
            try:
                await client.connect()
            except Exception as error:  # noqa: BLE001 - the caller handles every failure to start
                return error
            finally:
                stopper.cancel()
        if scope.cancelled_caught:
            return TimeoutError("Claude Code did not start in time")
        self.connected = True
        return None

    async def set_effort(self, effort: str) -> None:
        """Change how much effort the model puts into its answers. Raises the SDK's errors."""
        # The SDK has no method for it; a test checks the pinned version.
        request = {"subtype": "apply_flag_settings", "settings": {"effortLevel": effort}}
        await self.client._query._send_control_request(request)  # type: ignore[union-attr]  # noqa: SLF001

    async def rehearse(self) -> None:
        """Have turns of which nothing stays. Call once, before the session; `discard` this after an exception."""
        settings = self.launch.settings
        rehearsal = Rehearsal(self.client, settings.home, self.start.conversation_id, settings.as_agent)
        self.callbacks.rehearsal = rehearsal
        self.earlier = await rehearsal.run()
        self.callbacks.rehearsal = None

    async def discard(self) -> None:
        """Kill the process and all that it has started, and close the client. May run twice. Raises nothing.

        What is left of a rehearsal that failed is removed: the session's own process would resume it.
        """
        self.callbacks.refuse()
        self.kill()
        if self._client is not None:
            closing = asyncio.create_task(disconnect(self._client), name="agent discard")
            await asyncio.wait({closing}, timeout=END_DEADLINE_S)
        self.connected = False
        if self.callbacks.rehearsal is not None:
            try:
                await asyncio.to_thread(self.callbacks.rehearsal.remove_transcript)
            except OSError as error:
                print(f"runner: the transcript of a rehearsal is left: {error}", flush=True)  # noqa: T201

    def kill(self) -> None:
        """Send SIGKILL to the process, if it runs, and to all that it has started. Returns at once."""
        process = self.process
        if process is not None and process.returncode is None:
            processes.send(signal.SIGKILL, [process.pid, *processes.descendants(process.pid)])


async def _cancel_after(stopped: Callable[[], Awaitable[None]], scope: anyio.CancelScope) -> None:
    await stopped()
    scope.cancel()
