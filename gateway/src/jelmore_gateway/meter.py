"""Reads the token counts of a response of the Messages API while it passes, with bounded memory. Pure."""

import json
from dataclasses import dataclass, field
from typing import Any, Final

MAX_LINE_BYTES: Final = 1024 * 1024
MAX_BODY_BYTES: Final = 8 * 1024 * 1024
_COUNTS: Final = {
    "input_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "cache_read_input_tokens": "cache_read_tokens",
    "cache_creation_input_tokens": "cache_write_tokens",
}


@dataclass(slots=True)
class Tokens:
    """The tokens of one call. Counts only grow: an event stream repeats them as totals."""

    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    found: bool = False

    def read(self, usage: Any, model: Any = None) -> None:
        """Take over what a `usage` object says. Ignores what has another form."""
        if isinstance(model, str):
            self.model = model[:200]
        if not isinstance(usage, dict):
            return
        self.found = True
        for name, own in _COUNTS.items():
            count = usage.get(name)
            if isinstance(count, int) and not isinstance(count, bool) and count > getattr(self, own):
                setattr(self, own, count)


@dataclass(slots=True)
class EventStreamMeter:
    """Reads server-sent events in whatever pieces they arrive."""

    tokens: Tokens = field(default_factory=Tokens)
    ended: bool = False  # the stream said that it is complete
    _line: bytearray = field(default_factory=bytearray)
    _skips: bool = False  # inside of a line that is too long

    def feed(self, piece: bytes) -> None:
        """Read the next piece."""
        *lines, rest = piece.split(b"\n")
        for line in lines:
            if not self._skips:
                self._read(bytes(self._line) + line)
            self._line.clear()
            self._skips = False
        if not self._skips:
            self._line += rest
        if len(self._line) > MAX_LINE_BYTES:
            self._line.clear()
            self._skips = True

    def finish(self) -> None:
        """Nothing is left to read: an event without its line end is not complete."""

    def _read(self, line: bytes) -> None:
        if not line.startswith(b"data:"):
            return
        if b'"message_stop"' in line:
            self.ended = True
        if b'"usage"' not in line:
            return
        try:
            event = json.loads(line.removeprefix(b"data:"))
        except (ValueError, RecursionError):
            return
        match event:
            case {"type": "message_start", "message": {"usage": usage, **message}}:
                self.tokens.read(usage, message.get("model"))
            case {"type": "message_delta", "usage": usage}:
                self.tokens.read(usage)
            case _:
                pass


@dataclass(slots=True)
class BodyMeter:
    """Reads one JSON body. A body above MAX_BODY_BYTES is not read."""

    tokens: Tokens = field(default_factory=Tokens)
    ended: bool = False
    _body: bytearray = field(default_factory=bytearray)
    _skips: bool = False

    def feed(self, piece: bytes) -> None:
        """Read the next piece."""
        if not self._skips:
            self._body += piece
            self._skips = len(self._body) > MAX_BODY_BYTES
        if self._skips:
            self._body.clear()

    def finish(self) -> None:
        """Read the body as a whole."""
        try:
            body = json.loads(self._body)
        except (ValueError, RecursionError):
            return
        if isinstance(body, dict):
            self.ended = True
            self.tokens.read(body.get("usage"), body.get("model"))


def meter_for(content_type: str) -> EventStreamMeter | BodyMeter:
    """Return the meter for a response of that type."""
    return EventStreamMeter() if content_type.startswith("text/event-stream") else BodyMeter()
