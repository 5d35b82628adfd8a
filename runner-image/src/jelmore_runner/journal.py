"""Numbers and records the events of a session. An event is on the disk before any reader sees it.

One writer commits everything that was put since its last sync as one batch. It retries a full or failing disk without
limit. Meanwhile no event becomes visible, `error` gives the reason, and `has_room` turns false so that producers wait.
Readers pull at their own pace, from a small ring in memory or from the file, and never delay the writer.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, Literal

from jelmore_protocol import MAX_LINE_BYTES
from jelmore_protocol.control import OutputLimits
from jelmore_protocol.events import EventKind, utc_text
from jelmore_protocol.frames import ErrorCode
from jelmore_runner.errors import RefusedError
from jelmore_runner.journal_file import JournalFile
from jelmore_runner.output_budget import OPTIONAL, OUTLINE_BYTES, OutputBudget, Pace, counts
from jelmore_runner.serialize import cut, encode

MAX_PENDING: Final = 1_000
MAX_PENDING_BYTES: Final = 16 * 1024 * 1024
MAX_BATCH_BYTES: Final = 4 * 1024 * 1024
RING_LINES: Final = 2_000
RING_BYTES: Final = 2 * 1024 * 1024
CHUNK_BYTES: Final = 256 * 1024
CHUNK_LINES: Final = 500
DURABLE_DEADLINE_S: Final = 8.0
"""Below the 10 s that a manager waits: else it reports "no answer" in place of why the disk takes nothing."""

LONGEST_PAUSE_S: Final = 5.0
RETRY_S: Final = (0.1, 0.25, 0.5, 1.0, 2.0)  # the last one repeats
_MAX_UTF8_BYTES: Final = 4  # of one character

type Entry = tuple[EventKind, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Line:
    """A numbered event that is to be written."""

    seq: int
    kind: EventKind
    data: Mapping[str, Any]
    text: str


@dataclass(slots=True)
class Journal:
    """Numbers, records and replays. Use `put` and the readers from one event loop; `run` is the writer task."""

    file: JournalFile
    head: int  # the newest event on the disk
    on_commit: Callable[[list[Line]], None]  # called in order, directly after each batch is durable
    retry_s: tuple[float, ...] = RETRY_S
    error: str | None = None
    last: int = 0  # the newest event that has a number
    budget: OutputBudget = field(default_factory=OutputBudget)
    now_s: Callable[[], float] = time.monotonic
    _pace: Pace = field(default_factory=Pace)
    _pending: deque[Line] = field(default_factory=deque)
    _pending_bytes: int = 0
    _ring: deque[tuple[int, str]] = field(default_factory=deque)
    _ring_bytes: int = 0
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.last = self.head

    @property
    def has_room(self) -> bool:
        """Whether producers may continue. `put` itself never refuses, so that one decision stays one batch."""
        return len(self._pending) < MAX_PENDING and self._pending_bytes < MAX_PENDING_BYTES

    def put(self, *entries: Entry) -> list[int]:
        """Number the events without a gap, queue them for one commit, and return their seqs. Never blocks."""
        at = utc_text(datetime.now(UTC))
        lines = [self._within_budget(kind, data) for kind, data in entries]
        cut_now = not all(fits for *_, fits in lines)
        if cut_now and not self.budget.limited:
            warning = self.budget.warning()
            self._append(EventKind.ERROR, at, warning, encode(warning))
        self.budget.limited = cut_now or (self.budget.limited and not any(counts(*entry) for entry in entries))
        for kind, data, body, _ in lines:
            self._append(kind, at, data, body)
        self._wake.set()
        return list(range(self.last - len(entries) + 1, self.last + 1))

    def leaves_out(self, kind: EventKind) -> bool:
        """Return whether an event of this kind has no place any more: the total of output is used up. Says so once."""
        if kind not in OPTIONAL or not self.budget.is_used_up:
            return False
        if not self.budget.left_out:
            self.budget.left_out = True
            self.put((EventKind.ERROR, self.budget.warning()))
        return True

    def limit_output(self, limits: OutputLimits) -> None:
        """Change how much output is journaled whole, from the next event on."""
        self.budget.change(limits, self.now_s())

    def _append(self, kind: EventKind, at: str, data: Mapping[str, Any], body: str) -> None:
        self.last += 1
        line = _line(self.last, kind, at, data, body)
        self._pending.append(line)
        self._pending_bytes += len(line.text)

    def _within_budget(
        self, kind: EventKind, data: Mapping[str, Any]
    ) -> tuple[EventKind, Mapping[str, Any], str, bool]:
        """Return the event as it may be journaled, its data encoded too, and whether it is whole."""
        body = encode(data)
        if not counts(kind, data) or self.budget.take(len(body), self.now_s()):
            return kind, data, body, True
        data = cut(data, OUTLINE_BYTES)
        return kind, data, encode(data), False

    async def durable(self, seq: int) -> None:
        """Return once `seq` is on the disk. Waits without limit while the disk fails: call it with a deadline."""
        while self.head < seq:
            await self._changed.wait()

    async def settled(self, seq: int) -> None:
        """Return once `seq` is on the disk. Raises RefusedError (`unavailable`) when that takes too long."""
        try:
            async with asyncio.timeout(DURABLE_DEADLINE_S):
                await self.durable(seq)
        except TimeoutError:
            reason = self.error or "the journal is slow"
            raise RefusedError(ErrorCode.UNAVAILABLE, f"{reason}; it may still take effect") from None

    async def room(self) -> None:
        """Return once `has_room` is true, and the events do not follow each other too fast."""
        while not self.has_room:
            await self._changed.wait()
        if pause_s := self._pace.pause_s(self.last, self.now_s()):
            await asyncio.sleep(min(pause_s, LONGEST_PAUSE_S))

    async def run(self) -> None:
        """Write until cancelled. A batch that is being written is completed by its thread and is then on the disk."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._pending:
                await self._commit(self._batch())

    def resume_position(self, after: int) -> tuple[Literal["ok", "gap"], int]:
        """Return whether every event after `after` can be sent, and the cursor where the stream starts."""
        if after > self.head:
            return "gap", 0
        kept = len(self.file.seqs) - self.file.position_after(after)
        return ("ok" if kept == self.head - after else "gap"), after

    async def read(self, after: int) -> list[tuple[int, str]]:
        """Return the next durable events after `after` as (seq, text), oldest first. Empty when there are none yet."""
        position = self.file.position_after(after)
        behind = len(self.file.seqs) - position
        if behind == 0:
            return []
        if behind <= len(self._ring):
            if behind <= CHUNK_LINES:  # as for most readers, who are near the end: a deque is walked from there
                return list(islice(reversed(self._ring), behind))[::-1]
            begin = len(self._ring) - behind
            return list(islice(self._ring, begin, begin + CHUNK_LINES))
        data = await asyncio.to_thread(self.file.read, position, CHUNK_BYTES)
        lines = data.decode().split("\n")[:-1]
        return list(zip(self.file.seqs[position : position + len(lines)], lines, strict=True))

    def _batch(self) -> list[Line]:
        batch: list[Line] = []
        size = 0
        for line in self._pending:
            if batch and size + len(line.text) > MAX_BATCH_BYTES:
                break
            batch.append(line)
            size += len(line.text)
        return batch

    async def _commit(self, batch: list[Line]) -> None:
        encoded = [f"{line.text}\n".encode() for line in batch]
        data = b"".join(encoded)
        failures = 0
        while True:
            try:
                await asyncio.to_thread(self.file.append, data)
                break
            except OSError as error:
                self.error = f"the journal cannot be written: {error.strerror or error}"
                await asyncio.sleep(self.retry_s[min(failures, len(self.retry_s) - 1)])
                failures += 1
        self.error = None
        self.file.extend_index([(line.seq, len(raw)) for line, raw in zip(batch, encoded, strict=True)])
        self._publish(batch)

    def _publish(self, batch: list[Line]) -> None:
        for line in batch:
            self._pending.popleft()
            self._pending_bytes -= len(line.text)
            self._ring.append((line.seq, line.text))
            self._ring_bytes += len(line.text)
        while len(self._ring) > RING_LINES or self._ring_bytes > RING_BYTES:
            self._ring_bytes -= len(self._ring.popleft()[1])
        self.head = batch[-1].seq
        self.on_commit(batch)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


def _fits(body: str) -> bool:
    """Return whether the data of a line is within its bound. Only that of long lines is encoded to count its bytes."""
    return len(body) * _MAX_UTF8_BYTES <= MAX_LINE_BYTES or len(body.encode()) <= MAX_LINE_BYTES


def _line(seq: int, kind: EventKind, at: str, data: Mapping[str, Any], body: str) -> Line:
    # Readers hold whole lines in memory. Inputs stay whole: they are run from their line, and limited when accepted.
    if kind is not EventKind.INPUT and not _fits(body):
        data = cut(data, MAX_LINE_BYTES)
        body = encode(data)
    text = f'{{"type":"event","seq":{seq},"kind":"{kind.value}","at":"{at}","data":{body}}}'
    return Line(seq, kind, data, text)
