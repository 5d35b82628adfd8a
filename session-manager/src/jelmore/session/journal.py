"""Reads a runner's journal: the lines that a session's volume holds, in pieces and within limits."""

import re
from typing import Final

from jelmore.session.output import MAX_STORED_LINE_BYTES, Output, parse, parse_envelope, unreadable

_NUMBERED: Final = re.compile(rb'\{"type":"event","seq":([1-9][0-9]{0,15}),')
_MAX_HEAD_BYTES: Final = 256


class JournalReader:
    """Reads a journal in pieces. Holds at most one line and one piece in memory; does not parse data."""

    def __init__(self, after: int) -> None:
        """Skip lines up to seq `after`, most of them without a look at each."""
        self.is_over = False  # a line was malformed: what follows it cannot be trusted
        self._after = after
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Output]:
        """Return the output in the lines completed by `piece`, up to the first gap in seqs. Never raises."""
        piece = self._unstored(piece)
        *ends, rest = piece.split(b"\n")
        outputs = []
        for end in ends:
            self._add(end)
            output = None if self.is_over else self._line()
            outputs += [output] if output else []
            self._parts, self._size = [], 0
        self._add(rest)
        return outputs

    def _unstored(self, piece: bytes) -> bytes:
        """Return `piece` without its whole lines if the last of them is stored.

        Numbers ascend, so one look shows that all are stored: a long journal is passed over as fast as it is read.
        """
        end = piece.rfind(b"\n")
        before_last = piece.rfind(b"\n", 0, max(end, 0))
        last = _NUMBERED.match(piece, before_last + 1) if before_last >= 0 else None
        if last is None or int(last[1]) > self._after:
            return piece
        self._parts, self._size = [], 0
        return piece[end + 1 :]

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= MAX_STORED_LINE_BYTES:
            self._parts.append(part)
        else:  # keep the envelope for the mark that replaces the line
            self._parts = [b"".join(self._parts)[:_MAX_HEAD_BYTES], part[:_MAX_HEAD_BYTES]]

    def _line(self) -> Output | None:
        line = b"".join(self._parts)
        numbered = _NUMBERED.match(line)
        if numbered and int(numbered[1]) <= self._after:
            return None
        output = (
            parse(line.decode(errors="replace")) if self._size <= MAX_STORED_LINE_BYTES else _too_long(line, self._size)
        )
        self.is_over = output is None
        if output is None or output.seq != self._after + 1:
            return None
        self._after = output.seq
        return output


def _too_long(line: bytes, size: int) -> Output | None:
    envelope = parse_envelope(line[:_MAX_HEAD_BYTES].decode(errors="replace"))
    if envelope is None:
        return None
    seq, _, at = envelope
    return unreadable(seq, at, size, "the line is too long")
