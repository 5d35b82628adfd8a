"""How much one peer, one key and all of them together may hold: connections, bytes, and memory for what arrives."""

import asyncio
import re
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.bounds import MAX_JSON_VALUES
from jelmore_protocol.frames import AnyClientFrame, BadFrameError, CloseCode, decode_client_frame

READER_FRAME_BYTES: Final = 16 * 1024
"""The largest frame of a client that may only read, or has not shown a token yet."""

WRITER_FRAME_BYTES: Final = 6 * MAX_INPUT_BYTES + READER_FRAME_BYTES
"""The largest frame of a client that may write: a whole input with every byte escaped as \\u00XX."""

LARGE_FRAME_CHARACTERS: Final = 64 * 1024
MAX_BYTES_IN_FLIGHT: Final = 64 * 1024 * 1024
_MOST_BUCKETS: Final = 10_000
_STRINGS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


class TooManyError(Exception):
    """There is no place for another connection of this kind."""

    code = CloseCode.TRY_LATER


class ConnectionBudget:
    """Counts connections. A tenth of the places is kept for writers, and a tenth from any single subject."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_shared = most - most // 10
        self._readers = 0
        self._total = 0
        self._subjects: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._total

    @contextmanager
    def counted(self, subject: str, *, can_write: bool) -> Iterator[None]:
        """Hold a place. Raises TooManyError."""
        is_full = self._total >= self._most or self._subjects[subject] >= self._most_shared
        if is_full or (not can_write and self._readers >= self._most_shared):
            raise TooManyError
        self._total += 1
        self._readers += not can_write
        self._subjects[subject] += 1
        try:
            yield
        finally:
            self._total -= 1
            self._readers -= not can_write
            self._subjects[subject] -= 1
            if not self._subjects[subject]:
                del self._subjects[subject]


class ByteBudget:
    """Bytes that one subject may send: a burst, then so many a second. Who sends more is read more slowly."""

    def __init__(self, burst_bytes: int, per_second: int, now: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst_bytes
        self._per_second = per_second
        self._now = now
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # subject -> (bytes left, when)

    def spend(self, subject: str, count: int) -> float:
        """Take `count` bytes; return the seconds to wait before more is read."""
        now = self._now()
        level, since = self._levels.pop(subject, (float(self._burst), now))
        level = min(self._burst, level + (now - since) * self._per_second) - count
        self._levels[subject] = (level, now)
        if len(self._levels) > _MOST_BUCKETS:
            self._levels.popitem(last=False)  # it sent longest ago, and its budget is whole again
        return max(0.0, -level / self._per_second)


@dataclass(slots=True)
class ServerLimits:
    """Times in seconds, and the budgets that all connections of this process share."""

    send_timeout_s: float = 30.0
    auth_timeout_s: float = 10.0
    max_unauthenticated: int = 50
    """Connections without a token; counted apart, so that they keep out nobody who has one."""

    unauthenticated: int = 0
    reader_bytes: ByteBudget = field(default_factory=lambda: ByteBudget(256 * 1024, 64 * 1024))
    writer_bytes: ByteBudget = field(default_factory=lambda: ByteBudget(2 * WRITER_FRAME_BYTES, 2 * 1024 * 1024))
    parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def decode(self, text: str) -> AnyClientFrame:
        """Return the frame in `text`; a large one is parsed off the event loop, one at a time. Raises BadFrameError."""
        if len(text) <= LARGE_FRAME_CHARACTERS:
            return decode_client_frame(text)
        async with self.parsing:
            return await asyncio.to_thread(_decode_large, text)

    def wait_s(self, subject: str, count: int, *, can_write: bool) -> float:
        """Count what a client sent; return how long it is not read from."""
        return (self.writer_bytes if can_write else self.reader_bytes).spend(subject, count)


def _decode_large(text: str) -> AnyClientFrame:
    """Refuse many small values before they are parsed: they need 30 times the memory of their text."""
    if _values(text) > MAX_JSON_VALUES and _values(_STRINGS.sub("", text)) > MAX_JSON_VALUES:
        raise BadFrameError(f"a frame has at most {MAX_JSON_VALUES} values")
    return decode_client_frame(text)


def _values(text: str) -> int:
    return sum(map(text.count, "[{,"))
