"""What of a setup's output is journaled: its beginning as it comes, and its end. Pure.

A setup may print without end. What is kept of it is bounded, and the last lines, which say why it failed, are kept.
"""

import codecs
from collections import deque
from typing import Final

HEAD_BYTES: Final = 256 * 1024
TAIL_BYTES: Final = 16 * 1024
PIECE_BYTES: Final = 16 * 1024


class SetupOutput:
    """Takes the output in pieces of any size. `take` and `rest` return text that was not returned before."""

    def __init__(self, head_bytes: int = HEAD_BYTES, tail_bytes: int = TAIL_BYTES) -> None:
        self._left = head_bytes
        self._tail_bytes = tail_bytes
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_size = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self.omitted_bytes = 0

    def add(self, data: bytes) -> None:
        """Take what was printed. Costs nothing that grows with what came before."""
        head = data[: self._left]
        self._left -= len(head)
        self._head += head
        tail = data[len(head) :][-self._tail_bytes :]
        self.omitted_bytes += len(data) - len(head) - len(tail)
        if tail:
            self._tail.append(tail)
            self._tail_size += len(tail)
        while self._tail and self._tail_size - len(self._tail[0]) >= self._tail_bytes:
            dropped = len(self._tail.popleft())
            self._tail_size -= dropped
            self.omitted_bytes += dropped

    def take(self) -> str:
        """Return the next text of the beginning, at most `PIECE_BYTES` of it; empty when there is none yet."""
        piece = bytes(self._head[:PIECE_BYTES])
        del self._head[: len(piece)]
        return self._decoder.decode(piece)

    def rest(self) -> str:
        """Return the end, after `omitted_bytes` that are nowhere. Call it once, after the last `take`."""
        tail = b"".join(self._tail)
        over = max(0, len(tail) - self._tail_bytes)
        self.omitted_bytes += over
        if self.omitted_bytes:  # what comes is not the continuation of a cut character
            cut = self._decoder.decode(b"", final=True)
            return cut + tail[over:].decode("utf-8", "replace")
        return self._decoder.decode(tail, final=True)
