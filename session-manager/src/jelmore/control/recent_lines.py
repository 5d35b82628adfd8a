"""The newest lines of a session in the memory of this process, and the pieces of them that readers get."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from sys import getsizeof
from typing import Final

_RING_LINES: Final = 1_000
_RING_BYTES: Final = 4 * 1024 * 1024

CHUNK: Final = 500
"""Lines per read."""


@dataclass(slots=True)
class RecentLines:
    """The newest lines of a session, oldest first, without gaps."""

    seen: int
    lines: deque[tuple[int, str]] = field(default_factory=deque)
    line_bytes: int = 0

    def add(self, seq: int, text: str) -> bool:
        """Add a line; return whether it is new. `seen` never decreases."""
        if seq <= self.seen:
            return False
        if self.lines and seq != self.lines[-1][0] + 1:
            self.drop_lines()  # a gap: older lines are read from Redis or PostgreSQL
        self.lines.append((seq, text))
        self.line_bytes += getsizeof(text)
        self.seen = max(self.seen, seq)
        while len(self.lines) > _RING_LINES or (self.line_bytes > _RING_BYTES and len(self.lines) > 1):
            self.line_bytes -= getsizeof(self.lines.popleft()[1])
        return True

    def drop_lines(self) -> None:
        """Forget the lines; they are read from Redis or PostgreSQL."""
        self.lines.clear()
        self.line_bytes = 0

    def after(self, cursor: int, most_bytes: int) -> "Chunk | None":
        """Return the lines after `cursor`; None when they do not reach back that far."""
        if not self.lines or self.lines[0][0] > cursor + 1:
            return None
        start = cursor + 1 - self.lines[0][0]
        return chunk_of(
            [self.lines[index] for index in range(start, min(start + CHUNK, len(self.lines)))], CHUNK, most_bytes
        )


@dataclass(frozen=True, slots=True)
class Chunk:
    """The next lines for a reader. `more` is True when a limit cut them, so that more may follow."""

    lines: Sequence[tuple[int, str]]
    more: bool


def chunk_of(lines: Sequence[tuple[int, str]], asked: int, most_bytes: int) -> Chunk:
    """Return as many lines as fit in `most_bytes`, at least one. `asked` is how many lines were asked for."""
    sums = accumulate(len(text) if text.isascii() else len(text.encode()) for _, text in lines)
    fitting = sum(place == 0 or size <= most_bytes for place, size in enumerate(sums))
    return Chunk(lines[:fitting], more=fitting < len(lines) or (0 < asked <= fitting))
