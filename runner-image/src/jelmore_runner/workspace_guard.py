"""Keeps a session's volume within its limits, of bytes and of files: measures, warns, and stops what fills it.

Many small files use up the inodes of the file system, which all sessions share, long before its bytes.

Only a running agent can delete files, so a session with a full workspace still accepts inputs. Far above the limit it
accepts none, because each input could write more.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from pathlib import Path
from typing import Final

from jelmore_protocol.events import AgentState
from jelmore_runner.conversation import Conversation
from jelmore_runner.disk_use import DiskUse, disk_use
from jelmore_runner.errors import RefusedError
from jelmore_runner.open_files import OpenFiles, open_files
from jelmore_runner.volume_use import volume_use

MEASURE_INTERVAL_S: Final = 15.0
FREQUENT_MEASURE_INTERVAL_S: Final = 3.0  # from `Level.NEARLY` on
WALK_S: Final = 5.0  # maximum time of a measurement
OPEN_FILES_S: Final = 1.0  # of which at most this long counts open files of processes
GROWTH_MEASURE_INTERVAL_S: Final = (
    0.5  # while it grows above its limit: each measurement may have to stop another writer
)
REST_FOR_WALK: Final = 10  # wait at least ten times as long as the last measurement took
IDLE_MEASUREMENT_RATIO: Final = 8  # while the agent is idle, only every eighth interval measures
STOPS_WITHOUT_TERMINALS: Final = 3  # the third stop of one growth ends people's terminals too
CODE: Final = "workspace_full"


class Level(IntEnum):
    """How full the workspace is. The value is the percentage of the limit where the level begins."""

    ROOM = 0
    NEARLY = 80
    FULL = 100  # the turn is interrupted
    OVERFULL = 120  # inputs are refused


BACK_BY: Final = 5
"""Percentage points below a level at which it ends, so that use near the edge does not repeat the warning."""


def level_of(used_bytes: int, limit_bytes: int, before: Level = Level.ROOM) -> Level:
    """Return the level that follows `before`. Pure. Without a limit (0) it is always `ROOM`."""
    if limit_bytes <= 0:
        return Level.ROOM
    percent = used_bytes * 100 / limit_bytes
    now = max(level for level in Level if percent >= level)
    if now >= before:
        return now
    left = max(level for level in Level if percent + BACK_BY >= level)
    return min(before, left)


@dataclass(frozen=True, slots=True)
class GuardCallbacks:
    """The calls by which the guard stops the agent."""

    interrupt: Callable[[], Awaitable[None]]  # raises RefusedError when the agent does not stop
    end_background: Callable[[], int]  # kills the processes that the agent started; returns how many
    end_all: Callable[[], int]  # kills people's terminals as well; returns how many processes
    processes: Callable[[], list[int]]  # returns the pids whose open files count, the agent's and all below it


class WorkspaceGuard:
    """Measures the volume while the session runs. `run` is called once."""

    def __init__(
        self,
        conversation: Conversation,
        folders: Sequence[Path],
        limit_bytes: int,
        callbacks: GuardCallbacks,
        limit_files: int = 0,
    ) -> None:
        self.limit_bytes = limit_bytes
        self._limit_files = limit_files
        self.used: DiskUse | None = None
        self.open_files = OpenFiles()
        self.level = Level.ROOM
        self._conversation = conversation
        self._folders = folders
        self._callbacks = callbacks
        self._measured_at_seq = -1
        self._skipped = 0
        self._growing = False
        self._stops = 0  # since the level rose
        self._changed = asyncio.Event()

    def set_limit(self, limit_bytes: int) -> None:
        """Change the limit. Applies it to the last measurement at once, and requests a new measurement."""
        self.limit_bytes = limit_bytes
        if self.used is not None:
            self.level = min(self.level, self._level(self.used, Level.ROOM))
        self._report_to_session()
        self._changed.set()

    async def run(self) -> None:
        """Measure until cancelled: more often when the volume is nearly full, rarely while the agent is idle."""
        while True:
            self._changed.clear()  # before the measurement, so that a change during it causes another one
            took_s = await self.check() if self._due() else 0.0
            try:
                async with asyncio.timeout(self._pause_s(took_s)):
                    await self._changed.wait()
                self._measured_at_seq = -1
            except TimeoutError:
                continue

    async def check(self) -> float:
        """Measure once, act on the result, and return how many seconds the measurement took."""
        self._measured_at_seq = self._conversation.journal.last
        began = time.monotonic()
        before, self.used = self.used, await asyncio.to_thread(self._measure)
        took_s = time.monotonic() - began
        if not self._conversation.ended:
            grew = before is not None and (self.used.bytes > before.bytes or self.used.files > before.files)
            was, self.level = self.level, self._level(self.used, self.level)
            self._growing = grew and self.level >= Level.FULL
            self._report_to_session()
            await self._act(was, grew=grew)
        return took_s

    def _level(self, used: DiskUse, before: Level) -> Level:
        files = level_of(used.files, self._limit_files, before)
        return max(level_of(used.bytes, self.limit_bytes, before), files)

    def _measure(self) -> DiskUse:
        pids = self._callbacks.processes()
        self.open_files = open_files(pids, OPEN_FILES_S, self._folders[0])
        walked = disk_use(self._folders, WALK_S, pids)
        return replace(walked, bytes=max(walked.bytes, volume_use(self._folders)))

    def _pause_s(self, took_s: float) -> float:
        if self._growing:
            return max(GROWTH_MEASURE_INTERVAL_S, took_s)
        return max(
            FREQUENT_MEASURE_INTERVAL_S if self.level >= Level.NEARLY else MEASURE_INTERVAL_S, took_s * REST_FOR_WALK
        )

    def _due(self) -> bool:
        active = self._conversation.turn.view.state is AgentState.ACTIVE
        if active or self.level >= Level.FULL or self._conversation.journal.last != self._measured_at_seq:
            self._skipped = 0
            return True
        self._skipped = (self._skipped + 1) % IDLE_MEASUREMENT_RATIO
        return self._skipped == 0

    def _report_to_session(self) -> None:
        full = self.level >= Level.OVERFULL
        self._conversation.refusal = (
            f"{self._usage_text()}; delete files or raise the limit, then try again" if full else None
        )

    async def _act(self, was: Level, *, grew: bool) -> None:
        if self.level < Level.FULL:
            return
        rose = self.level > was
        if rose:
            parts = [self._usage_text()]
            if self._conversation.turn.view.state is AgentState.ACTIVE:
                parts.append("the running turn is interrupted")
            parts.append("inputs are refused" if self.level is Level.OVERFULL else "delete what is not needed")
            self._conversation.error(CODE, "; ".join(parts))
        if not grew:
            self._stops = min(self._stops, 1)  # it worked: what grows later is another growth
        if rose or (grew and self.level is Level.OVERFULL):
            self._stops = 1 if rose else self._stops + 1
            await self._stop_growth()

    async def _stop_growth(self) -> None:
        """Interrupt the turn. If the workspace is overfull, also end background processes and orphans.

        People's terminals, in which they may be making room, are ended only when it grows all the same. The first
        growth after a stop may be from before it.
        """
        if self._conversation.turn.view.state is AgentState.ACTIVE:
            try:
                await self._callbacks.interrupt()
            except RefusedError as error:
                self._conversation.error(CODE, f"the turn could not be interrupted: {error}")
        end = self._callbacks.end_all if self._stops >= STOPS_WITHOUT_TERMINALS else self._callbacks.end_background
        if self.level is Level.OVERFULL and (count := end()):
            self._conversation.error(CODE, f"{self._usage_text()} and grows: {count} background processes were ended")

    def _usage_text(self) -> str:
        used = self.used or DiskUse(0, whole=False)
        if level_of(used.files, self._limit_files) > level_of(used.bytes, self.limit_bytes):
            return f"the workspace holds {used.files} of {self._limit_files} files"
        return f"the workspace holds {_size(used.bytes)} of {_size(self.limit_bytes)}"


def _size(count: int) -> str:
    mebibytes = count / 2**20
    return f"{mebibytes:.0f} MiB" if mebibytes < 10_240 else f"{mebibytes / 1024:.1f} GiB"  # noqa: PLR2004
