"""The newest output of a terminal, addressed by its position in everything that was ever written. Pure."""

from collections import deque
from dataclasses import dataclass
from typing import Final

from jelmore_protocol.terminal import Stream
from jelmore_runner.terminals.screen_modes import ScreenModes

SEGMENT_BYTES: Final = 8 * 1024
MAX_SEGMENTS: Final = 2048
_LINE_SEARCH_BYTES: Final = 4 * 1024


@dataclass(slots=True)
class _Segment:
    start: int
    stream: Stream
    data: bytearray


class OutputRing:
    """Keeps the last `most_bytes` of the output, and at most one read more.

    It keeps less when the output changes between its streams with nearly every byte: each change costs a segment.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._segments: deque[_Segment] = deque()
        self.end = 0  # the position after the newest byte
        self._modes = ScreenModes()  # of the terminal before the oldest byte

    @property
    def start(self) -> int:
        """The position of the oldest byte."""
        return self._segments[0].start if self._segments else self.end

    def add(self, stream: Stream, data: bytes) -> None:
        """Append output. Drops the oldest segments that are no longer needed."""
        last = self._segments[-1] if self._segments else None
        if last is not None and last.stream is stream and len(last.data) + len(data) <= SEGMENT_BYTES:
            last.data += data
        else:
            self._segments.append(_Segment(self.end, stream, bytearray(data)))
        self.end += len(data)
        while (
            self.end - self.start - len(self._segments[0].data) >= self._most_bytes
            or len(self._segments) > MAX_SEGMENTS
        ):
            self._modes.feed(bytes(self._segments.popleft().data))

    def read(self, cursor: int, most_bytes: int) -> tuple[Stream, bytes]:
        """Return bytes from `cursor` on, of one stream; none at the end. `cursor` must not be before `start`."""
        for segment in self._segments:
            offset = cursor - segment.start
            if offset < len(segment.data):
                return segment.stream, bytes(segment.data[offset : offset + most_bytes])
        return Stream.STDOUT, b""

    def resumes(self, after: int | None) -> tuple[int, bool]:
        """Return where a reader begins that has seen everything before `after`, and whether it misses something.

        Without `after`, or when that is gone, it begins at the oldest byte, or, when others were dropped before that
        one, at the first line after it: the rest of an escape sequence would garble the screen.
        """
        if after is not None and self.start <= after <= self.end:
            return after, False
        if self.start == 0:
            return 0, after is not None
        return self.line_start(), True

    def line_start(self) -> int:
        """Return where the first line begins after the oldest byte; the oldest byte when there is no line near."""
        _, head = self.read(self.start, _LINE_SEARCH_BYTES)
        return self.start + head.find(b"\n") + 1

    def modes_at(self, position: int) -> bytes:
        """Return the sequences that switch a fresh terminal to what it was at a position near the oldest byte."""
        modes = self._modes.copy()
        _, skipped = self.read(self.start, position - self.start)
        modes.feed(skipped)
        return modes.restore()
