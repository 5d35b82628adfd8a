"""The `LiveOutput` port in memory."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from uuid import UUID

from jelmore.ports import LiveLine, StoredOutput, WatchList
from jelmore.session.errors import DependencyError
from jelmore.session.output import Output, whole_output
from jelmore.session.plain_text import clean_text


class MemoryLiveOutput:
    """Keeps the newest `cap` lines a session. `wipe` is what a restart does; a `full` one takes no writes."""

    def __init__(self, cap: int = 10_000) -> None:
        self.away = False
        self.full = False
        self._cap = cap
        self._lines: dict[UUID, dict[int, str]] = {}
        self._watchers: list[_Watcher] = []

    def wipe(self) -> None:
        self._lines.clear()

    def _here(self) -> None:
        if self.away:
            raise DependencyError("redis", "away")

    def _writable(self) -> None:
        self._here()
        if self.full:
            raise DependencyError("redis", "full")

    async def check(self) -> None:
        self._writable()

    async def answers(self) -> None:
        self._here()

    async def append(self, session_id: UUID, outputs: Sequence[Output], stored: StoredOutput | None = None) -> None:
        self._writable()
        if not outputs:
            return
        lines = self._lines.setdefault(session_id, {})
        top = max(lines, default=0)
        if stored and top < outputs[0].seq - 1:
            with contextlib.suppress(DependencyError):
                older = await _between(stored, max(top, outputs[-1].seq - self._cap), outputs[0].seq)
                outputs = [*older, *outputs]
            self._writable()
        for output in outputs:
            if output.seq > max(lines, default=0) + 1:
                lines.clear()  # what does not continue the tail replaces it
            if output.seq > max(lines, default=0):
                lines[output.seq] = clean_text(output.text)
            while len(lines) > self._cap:
                del lines[min(lines)]
        for watcher in self._watchers:
            watcher.poll(self._lines)

    async def publish(self, session_id: UUID, text: str) -> None:
        self._here()
        for watcher in self._watchers:
            watcher.receive(LiveLine(session_id, None, text))

    async def tail(self, session_id: UUID, after: int, limit: int) -> Sequence[Output] | None:
        self._here()
        lines = self._lines.get(session_id, {})
        if after and max(lines, default=0) == after:
            return []
        found: list[Output] = []
        while len(found) < limit and (text := lines.get(seq := after + 1 + len(found))):
            if (output := whole_output(seq, text)) is None:
                break
            found.append(output)
        return found or None

    async def watch(self, wanted: WatchList) -> AsyncGenerator[LiveLine]:
        self._here()
        watcher = _Watcher(wanted)
        self._watchers.append(watcher)
        follow = asyncio.create_task(watcher.follow(self._lines), name="memory-watch")
        try:
            while True:
                line = await watcher.queue.get()
                self._here()
                yield line
        finally:
            self._watchers.remove(watcher)
            follow.cancel()
            await asyncio.gather(follow, return_exceptions=True)

    async def expire(self, session_id: UUID, seconds: int) -> None:
        self._here()

    async def forget(self, session_id: UUID) -> None:
        self._here()
        self._lines.pop(session_id, None)

    async def known(self) -> Sequence[UUID]:
        self._here()
        return sorted(self._lines)

    async def close(self) -> None:
        pass


class _Watcher:
    """What one watch has read so far."""

    def __init__(self, wanted: WatchList) -> None:
        self.queue: asyncio.Queue[LiveLine] = asyncio.Queue()
        self._wanted = wanted
        self._read: dict[UUID, int] = {}
        self._take_over()

    async def follow(self, lines: dict[UUID, dict[int, str]]) -> None:
        while True:
            self._take_over()
            self.poll(lines)
            await self._wanted.changed()

    def _take_over(self) -> None:
        wanted = self._wanted.wanted().items()
        self._read = {
            session_id: max(seq, self._read.get(session_id, 0)) for session_id, seq in wanted if seq is not None
        }

    def poll(self, lines: dict[UUID, dict[int, str]]) -> None:
        for session_id, read in self._read.items():
            for seq, text in sorted(lines.get(session_id, {}).items()):
                if seq > read:
                    self._read[session_id] = seq
                    self.queue.put_nowait(LiveLine(session_id, seq, text))

    def receive(self, line: LiveLine) -> None:
        if line.session_id in self._wanted.wanted():
            self.queue.put_nowait(line)


async def _between(stored: StoredOutput, after: int, before: int) -> list[Output]:
    """Return the stored output between two seqs, nothing when some of it is missing."""
    found: list[Output] = []
    while (last := found[-1].seq if found else after) < before - 1:
        page = await stored(last, before - 1 - last)
        if not page:
            return []
        found += page
    return found if [output.seq for output in found] == list(range(after + 1, before)) else []
