"""Runs the setup of a session: once, as the agent's user, before the agent starts.

It begins only after `setup_started` is on the disk, so it runs at most once in a volume, whatever ends the runner: a
half of a script that runs again does more harm than one that is reported as cut off. The session continues when it
fails, and says so: a person or the agent can then see what is missing.
"""

import asyncio
import shlex
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from jelmore_protocol.events import EventKind
from jelmore_protocol.setup import SetupOrder, SetupOutcome
from jelmore_runner.conversation import Conversation
from jelmore_runner.settings import Settings
from jelmore_runner.setup_output import SetupOutput
from jelmore_runner.state import SetupRuns
from jelmore_runner.terminals.shell import Launch, Shell, Spawns

FLUSH_S: Final = 0.25
BURST_BYTES: Final = 1024 * 1024
"""A setup that prints more than this between two flushes waits for the next one: other tasks get their turn."""

FAILED: Final = "setup_failed"


class SetupScript:
    """The setup of one session. `run` is called once; `end` at any time."""

    def __init__(
        self, settings: Settings, conversation: Conversation, spawns: Spawns, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._conversation = conversation
        self._spawns = spawns
        self._environment = environment
        self._output = SetupOutput()
        self._burst = 0
        self._ending = asyncio.Event()
        self._cause = ""
        self.running = False

    def end(self, cause: str) -> None:
        """End the setup; one that has not started does not start. Returns at once, may run twice."""
        self._cause = self._cause or cause
        self._ending.set()

    async def run(self, order: SetupOrder | None, on_begin: Callable[[], None]) -> None:
        """Run the setup unless it has run before; return when it has ended. Raises nothing of the setup's.

        `on_begin` is called when there is something to wait for.
        """
        before = self._conversation.projection.setup
        if order is None or before is EventKind.SETUP_ENDED or self._ending.is_set():
            return
        if before is EventKind.SETUP_STARTED:
            self._ended(SetupOutcome.INTERRUPTED, None, 0.0, "restart")
            return
        program = await asyncio.to_thread(self._program, order)
        if program is None:
            self._ended(SetupOutcome.SKIPPED, None, 0.0, "no_file")
            return
        self.running = True
        try:
            await self._run(order, program, on_begin)
        finally:
            self.running = False

    async def _run(self, order: SetupOrder, program: str, on_begin: Callable[[], None]) -> None:
        started = (EventKind.SETUP_STARTED, order.model_dump())
        seq = self._conversation.record_fact(SetupRuns(), started)
        on_begin()
        await self._conversation.journal.durable(seq)
        began = time.monotonic()
        launch = Launch(program, self._settings.workspace, self._environment, 80, 24, pty=False)
        try:
            shell = await Shell.start(self._settings, launch, self._spawns)
        except OSError as error:
            self._ended(SetupOutcome.FAILED, None, 0.0, f"not_started: {error.strerror}")
            return
        timed_out = False
        try:
            shell.end_input()
            timed_out = await self._follow(shell, order.within_s)
        finally:
            await asyncio.shield(self._close(shell))
        await self._flush()
        code = shell.process.returncode
        duration_s = time.monotonic() - began
        if timed_out:
            self._ended(SetupOutcome.TIMED_OUT, code, duration_s, f"after {order.within_s:g} s")
        elif self._ending.is_set():
            self._ended(SetupOutcome.INTERRUPTED, code, duration_s, self._cause)
        else:
            self._ended(SetupOutcome.FAILED if code else SetupOutcome.COMPLETED, code, duration_s, "")

    def _program(self, order: SetupOrder) -> str | None:
        """Return the text for bash; None when the file is not there."""
        if order.file is None:
            return order.run
        root, rest = self._settings.place(order.file)
        path = Path(root, rest)
        with suppress(OSError):  # one that this user may not look at is the agent's to run
            if not path.exists():
                return None
        quoted = shlex.quote(str(path))
        return f"if [ -x {quoted} ]; then exec {quoted}; else exec bash -- {quoted}; fi"

    async def _follow(self, shell: Shell, within_s: float) -> bool:
        """Journal the output until the process ends, `end` is called or the time is over; return whether it was."""
        deadline = time.monotonic() + within_s
        exited = asyncio.create_task(shell.process.wait(), name="setup process")
        asked = asyncio.create_task(self._ending.wait(), name="setup end")
        try:
            while True:
                self._burst = 0
                shell.read(lambda _, data: self._arrived(shell, data))
                pause_s = max(0.0, min(FLUSH_S, deadline - time.monotonic()))
                done, _ = await asyncio.wait({exited, asked}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
                if done:
                    return False
                await self._flush()
                if time.monotonic() >= deadline:
                    return True
        finally:
            exited.cancel()
            asked.cancel()

    async def _close(self, shell: Shell) -> None:
        """End all that the setup has started, and take the last of its output."""
        try:
            await shell.kill()
            shell.pause()
            shell.drain(lambda _, data: self._output.add(data), BURST_BYTES)
        finally:
            shell.close()

    def _arrived(self, shell: Shell, data: bytes) -> None:
        self._output.add(data)
        self._burst += len(data)
        if self._burst > BURST_BYTES:
            shell.pause()

    async def _flush(self) -> None:
        while text := self._output.take():
            await self._conversation.journal.room()
            self._conversation.record_fact(SetupRuns(), (EventKind.SETUP_OUTPUT, {"text": text}))

    def _ended(self, outcome: SetupOutcome, code: int | None, duration_s: float, cause: str) -> None:
        text = self._output.rest()
        data: dict[str, Any] = {
            "outcome": outcome.value,
            "exit_code": code,
            "duration_ms": round(duration_s * 1000),
            "omitted_bytes": self._output.omitted_bytes,
            "text": text,
            "cause": cause,
        }
        self._conversation.record_fact(SetupRuns(), (EventKind.SETUP_ENDED, data))
        if outcome not in {SetupOutcome.COMPLETED, SetupOutcome.SKIPPED}:
            self._conversation.error(FAILED, _words(outcome, code, cause))


def _words(outcome: SetupOutcome, code: int | None, cause: str) -> str:
    """Return what people read about a setup that did not complete."""
    match outcome:
        case SetupOutcome.TIMED_OUT:
            how = f"was ended {cause}"
        case SetupOutcome.INTERRUPTED:
            how = f"was interrupted ({cause})"
        case _ if code is not None:
            how = f"failed with {f'signal {-code}' if code < 0 else f'exit code {code}'}"
        case _:
            how = f"failed ({cause})"
    return f"the setup of the session {how}; it does not run again, and the session continues without it"
