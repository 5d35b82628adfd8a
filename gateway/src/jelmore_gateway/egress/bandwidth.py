"""Shares the bandwidth to other hosts evenly between sessions, however many connections each of them has.

Deficit round robin: the sessions that wait take turns, and a turn is worth `QUANTUM_BYTES`. One that is alone gets
everything. Without a rate, nothing waits.
"""

import asyncio
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Final

QUANTUM_BYTES: Final = 64 * 1024
CATCH_UP_S: Final = 0.05
"""What a late timer may make up for, so that a busy machine does not lower the rate."""


@dataclass(slots=True)
class _Waiting:
    """The chunks of one session that wait, and what is left of its turn."""

    chunks: deque[tuple[int, "asyncio.Future[None]"]] = field(default_factory=deque)
    deficit: int = 0


class Bandwidth:
    """The bytes per second of all sessions together. Belongs to one event loop."""

    def __init__(self, bytes_per_s: int = 0) -> None:
        self._bytes_per_s = bytes_per_s
        self._waiting: OrderedDict[str, _Waiting] = OrderedDict()  # whose turn it is comes first
        self._free_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def set_rate(self, bytes_per_s: int) -> None:
        """Change the rate; 0 is no bound, and lets everything go that waits. May run twice."""
        if bytes_per_s == self._bytes_per_s:
            return
        self._bytes_per_s = bytes_per_s
        if self._waiting:
            self._free_at = asyncio.get_running_loop().time()
            self._set_timer()

    async def take(self, session_id: str, count: int) -> None:
        """Return when the session may move `count` bytes. What waits is bounded by the session's connections."""
        if not self._bytes_per_s or not count:
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(session_id, _Waiting()).chunks.append((count, turn))
        if self._timer is None:
            self._set_timer()
        await turn

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._free_at, self._serve)

    def _serve(self) -> None:
        """Let go what its time has come for."""
        self._timer = None
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now - CATCH_UP_S)
        while not self._bytes_per_s or self._free_at <= now:
            chunk = self._next()
            if chunk is None:
                return
            count, turn = chunk
            if turn.done():  # its connection was closed meanwhile
                continue
            turn.set_result(None)
            if self._bytes_per_s:
                self._free_at += count / self._bytes_per_s
        self._set_timer()

    def _next(self) -> tuple[int, "asyncio.Future[None]"] | None:
        """Remove and return the next chunk; None when nothing waits."""
        while self._waiting:
            session_id, waiting = next(iter(self._waiting.items()))
            if not waiting.chunks:
                del self._waiting[session_id]
            elif waiting.chunks[0][0] <= waiting.deficit:
                waiting.deficit -= waiting.chunks[0][0]
                return waiting.chunks.popleft()
            else:
                waiting.deficit += QUANTUM_BYTES
                self._waiting.move_to_end(session_id)
        return None
