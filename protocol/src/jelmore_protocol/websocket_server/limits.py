"""Limits per peer, per API key and in total: connections, bytes received, and memory for received frames."""

import asyncio
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.bounds import MAX_JSON_VALUES
from jelmore_protocol.frames import AnyClientFrame, BadFrameError, CloseCode, decode_client_frame
from jelmore_protocol.json_bounds import LARGE_CHARACTERS, has_too_many_values

READER_FRAME_BYTES: Final = 16 * 1024
"""The largest frame of a client that may only read, or is not authenticated yet."""

WRITER_FRAME_BYTES: Final = 6 * MAX_INPUT_BYTES + READER_FRAME_BYTES
"""The largest frame of a client that may write: an input of the maximum size with every byte escaped as \\u00XX."""

MAX_BYTES_IN_FLIGHT: Final = 64 * 1024 * 1024
_MAX_BUCKETS: Final = 10_000


class TooManyError(Exception):
    """The limit on connections is reached."""

    code = CloseCode.TRY_LATER


class ConnectionBudget:
    """Counts connections. A tenth is reserved for writers, and a single subject gets at most nine tenths."""

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
        """Count a connection while it is open. Raises TooManyError."""
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
    """Token bucket of the bytes that a subject may send. A subject that sends more is read more slowly."""

    def __init__(self, burst_bytes: int, per_second: int, now: Callable[[], float] = time.monotonic) -> None:
        self._burst = burst_bytes
        self._per_second = per_second
        self._now = now
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # subject -> (bytes left, when)

    def spend(self, subject: str, count: int) -> float:
        """Count `count` bytes; return how many seconds to wait before reading more."""
        now = self._now()
        level, since = self._levels.pop(subject, (float(self._burst), now))
        level = min(self._burst, level + (now - since) * self._per_second) - count
        self._levels[subject] = (level, now)
        if len(self._levels) > _MAX_BUCKETS:
            self._levels.popitem(last=False)  # least recently used, so probably full again
        return max(0.0, -level / self._per_second)


@dataclass(slots=True)
class BytesHeld:
    """Bytes that all peers of this process have sent and that are not used yet, against a bound."""

    most: int = MAX_BYTES_IN_FLIGHT
    used: int = 0

    @contextmanager
    def counted(self) -> Iterator[Callable[[int], bool]]:
        """Yield a function that sets how many bytes one message holds now, and returns whether all are in bounds."""
        held = 0

        def hold(count: int) -> bool:
            nonlocal held
            self.used += count - held
            held = count
            return self.used <= self.most

        try:
            yield hold
        finally:
            self.used -= held


@dataclass(slots=True)
class ServerLimits:
    """Timeouts, and the budgets that all connections of this process share."""

    send_timeout_s: float = 30.0
    auth_timeout_s: float = 10.0
    max_unauthenticated: int = 50
    """Limit on unauthenticated connections. Counted separately, so that they take no place of authenticated ones."""

    unauthenticated: int = 0
    reader_bytes: ByteBudget = field(default_factory=lambda: ByteBudget(256 * 1024, 64 * 1024))
    writer_bytes: ByteBudget = field(default_factory=lambda: ByteBudget(2 * WRITER_FRAME_BYTES, 2 * 1024 * 1024))
    bodies: BytesHeld = field(default_factory=BytesHeld)
    parsing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(1))

    async def decode(self, text: str) -> AnyClientFrame:
        """Return the frame in `text`. Raises BadFrameError. Large frames are parsed in a thread, one at a time."""
        if len(text) <= LARGE_CHARACTERS:
            return decode_client_frame(text)
        async with self.parsing:
            return await asyncio.to_thread(_decode_large, text)

    def wait_s(self, subject: str, count: int, *, can_write: bool) -> float:
        """Count `count` bytes of a client; return how many seconds to wait before reading more from it."""
        return (self.writer_bytes if can_write else self.reader_bytes).spend(subject, count)


def _decode_large(text: str) -> AnyClientFrame:
    """Return the frame in `text`. Raises BadFrameError."""
    if has_too_many_values(text):
        raise BadFrameError(f"a frame has at most {MAX_JSON_VALUES} values")
    return decode_client_frame(text)
