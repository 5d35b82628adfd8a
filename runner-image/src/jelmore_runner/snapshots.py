"""Keeps the workspace as it is before each turn, so that files can be compared with it and taken back.

The first tool of a turn waits for it, while the model is asked already; so does an input that may run a command before
any tool. Neither waits long: a workspace that is too large or too slow to be kept costs each turn a bounded time, and
an `error` of the session says so once.
"""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from jelmore_runner.conversation import Conversation
from jelmore_runner.errors import RefusedError
from jelmore_runner.settings import Settings
from jelmore_runner.workspace_helpers import Helpers

WITHIN_S: Final = 2.0
"""A snapshot that takes longer is not of its turn."""

HEAD_START_S: Final = 0.2
"""How long a snapshot leaves the processors to Claude Code, which builds its request, unless somebody waits for it."""

LATE_S: Final = 0.5
LONG_S: Final = 55.0
"""How long a late one continues, so that the next is quick; and how long a tidy or a restore may take."""

TIDY_EVERY: Final = 20
OVERDUE_EVERY: Final = 4
"""How many snapshots are between two tidies while there is more than a tidy leaves. The first is at once: a life may be
short."""

SKIPPED: Final = "snapshot_skipped"
_LATE: Final = f"it was not complete within {WITHIN_S:g} s; files cannot be taken back to before this turn"


class Snapshots:
    """The snapshots of one session. Use it from one event loop."""

    def __init__(
        self, settings: Settings, helpers: Helpers, conversation: Conversation, start: Callable[..., Any]
    ) -> None:
        """Set up, and have the session call `before_turn`. `start` starts a named task, as `Supervisor.start`."""
        self._helpers = helpers
        self._conversation = conversation
        self._start = start
        self._available = shutil.which("git", path=settings.path) is not None
        self._skipping = False
        self._untidied = 0
        self._tidied = False
        self._running: asyncio.Task[Any] | None = None
        self._waiting: list[int] = []  # the inputs of the turns that a snapshot that has not started is for
        self._awaited = asyncio.Event()  # somebody waits for it
        self._due = 0.0  # when it is too late for the turn, by the loop's clock, which is the monotonic one
        conversation.before_turn, conversation.before_tool = self.before_turn, self.settled

    async def before_turn(self, seq: int) -> None:
        """Have the workspace kept before the turn of this input, once an earlier turn's is kept. Raises nothing."""
        if self._waiting:
            self._waiting.append(seq)  # nothing has changed files since the turn before
            return
        await self.settled()
        if not self._available or (self._running is not None and not self._running.done()):
            return
        self._waiting = [seq]
        self._due = asyncio.get_running_loop().time() + HEAD_START_S + WITHIN_S + LATE_S
        self._awaited.clear()
        self._running = self._start("snapshot", self._take(), may_end=True)

    async def settled(self) -> None:
        """Return when the workspace is kept for the newest turn, or cannot be in time. Raises nothing."""
        left_s = self._due - asyncio.get_running_loop().time()
        if self._running is None or self._running.done() or left_s <= 0:
            return
        self._awaited.set()
        await asyncio.wait({self._running}, timeout=left_s)
        if not self._running.done():
            self._skipped(_LATE)

    async def _take(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEAD_START_S):
                await self._awaited.wait()
        seqs, self._waiting = self._waiting, []
        try:
            asked = {"op": "snapshot", "seqs": seqs, "within_s": WITHIN_S, "due": self._due}
            answer = await self.call(asked, LONG_S)
        except SnapshotError as error:
            self._skipped(str(error))
            return
        if answer.get("in_time"):
            self._skipping = False
        else:
            self._skipped(_LATE)
        self._untidied += 1
        overdue = bool(answer.get("overdue")) and (not self._tidied or self._untidied >= OVERDUE_EVERY)
        if overdue or self._untidied >= TIDY_EVERY:
            self._untidied, self._tidied = 0, True
            self._start("snapshots tidy", self._tidy(), may_end=True)

    async def _tidy(self) -> None:
        try:
            await self.call({"op": "tidy"}, LONG_S)
        except SnapshotError as error:
            self._conversation.error("snapshots_not_tidied", str(error))

    async def restore(self, seq: int) -> Mapping[str, Any]:
        """Take the files back to before the turn of this input; return how many were written and removed.

        May run twice. Raises SnapshotError.
        """
        if not self._available:
            raise SnapshotError("conflict", "there are no snapshots: the sandbox has no git")
        await self.settled()
        return await self.call({"op": "restore", "seq": seq}, LONG_S)

    def _skipped(self, reason: str) -> None:
        """Journal that turns have no snapshot now: once, until there is one again."""
        if not self._skipping:
            self._skipping = True
            self._conversation.error(SKIPPED, f"no snapshot of the workspace: {reason}")

    async def call(self, asked: Mapping[str, Any], within_s: float) -> Mapping[str, Any]:
        """Give a call to a helper and return the first line of its answer. Raises SnapshotError."""

        async def body() -> AsyncIterator[bytes]:
            yield json.dumps(asked).encode() + b"\n"

        line = bytearray()
        try:
            async with asyncio.timeout(within_s):
                answer = await self._helpers.answer(body())
                async for piece in answer:
                    line += piece
            head = json.loads(line)
        except (TimeoutError, RefusedError, ConnectionError, OSError, ValueError) as error:
            raise SnapshotError("failed", str(error) or f"it took longer than {within_s:g} s") from None
        if not isinstance(head, dict) or "error" in head:
            text = head if isinstance(head, dict) else {}
            raise SnapshotError(str(text.get("error", "failed")), str(text.get("message", "no answer"))[:500])
        return head


class SnapshotError(Exception):
    """A call on the snapshots failed. `code` is the helper's."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
