"""The frames of a terminal's WebSocket, the position in its output, and what a closed connection means. No I/O."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from jelmore_client.core.requests import backoff_s
from jelmore_client.errors import ConnectionFailedError, JelmoreError, Problem, ProtocolError, error_of

MAX_FRAME_BYTES: Final = 1024 * 1024
MAX_TYPED_BYTES: Final = 64 * 1024
MAX_ATTEMPTS: Final = 30
_FLUSHED: Final = "input-ended"
_ENDED: Final = 1000
_STATUS_OF_CLOSE: Final = {4401: 401, 4403: 403, 4404: 404, 1008: 422}
_STATUS_OF_ERROR: Final = {"conflict": 409, "ended": 409, "queue_full": 429, "unavailable": 503, "unknown_request": 404}
_CODE_OF_ERROR: Final = {"ended": "session_ended"}


@dataclass(frozen=True, slots=True)
class TerminalOutput:
    """A piece of what a terminal wrote. `stream` is `stderr` only without a screen."""

    data: bytes
    stream: str = "stdout"
    replayed: bool = False
    """Whether it was written before this client came: what a program asked of its screen then is answered already."""


@dataclass(slots=True)
class TerminalState:
    """What the client knows of its terminal. `opening` is what the caller asked for."""

    opening: Mapping[str, Any]
    terminal: str = ""
    instance: str = ""
    position: int = 0  # of the next byte
    replayed_to: int = 0  # what comes before this position was written before this client came
    columns: int = 80
    rows: int = 24
    writer: bool = False  # this client types
    by: str | None = None  # who types: the id of an API key
    watchers: int = 0
    gap: bool = False  # some output was left out
    exit_code: int | None = None
    signal: str | None = None
    ended: bool = False
    input_ended: bool = False  # the server has all of the input
    problem: str = ""  # why the last frame of this client had no effect
    opened: bool = False  # the connection of now has a terminal; until then, a problem is why it gets none
    attempts: int = 0
    failure: JelmoreError | None = None  # why the connection broke last
    _stream: str = "stdout"
    _error: Mapping[str, Any] = field(default_factory=dict)

    def first_frame(self) -> str:
        """Return the `open` frame: the first time as it was asked for, then for the rest of the same terminal."""
        self._stream, self.opened = "stdout", False
        self._error = {}
        if not self.instance:
            return json.dumps({"type": "open", **self.opening})
        again = {"instance": self.instance, "after": self.position, "take": self.writer, "watch": not self.writer}
        return json.dumps({"type": "open", "columns": self.columns, "rows": self.rows, **again})

    def take(self, frame: str | bytes) -> TerminalOutput | None:
        """Learn from a frame; return the output in it. Raises ProtocolError."""
        if isinstance(frame, bytes):
            replayed = self.position < self.replayed_to
            self.position += len(frame)
            self.attempts = 0
            return TerminalOutput(frame, self._stream, replayed)
        try:
            found = json.loads(frame)
        except ValueError:
            raise ProtocolError("a frame of the terminal is not JSON") from None
        self._learn(found if isinstance(found, dict) else {})
        if self.gap and self._must_be_whole:
            raise ProtocolError("output of the command was lost with the connection; run the command again")
        return None

    @property
    def _must_be_whole(self) -> bool:
        """Whether the output is a file for somebody, not a screen that is drawn again."""
        return self.opening.get("pty") is False and not self.opening.get("watch") and "instance" not in self.opening

    def _learn(self, frame: Mapping[str, Any]) -> None:
        match frame.get("type"):
            case "opened":
                first, self.opened = not self.instance, True
                self.terminal, self.instance = str(frame.get("terminal")), str(frame.get("instance"))
                self.position = int(frame.get("position") or 0)
                self.replayed_to = int(frame.get("end") or 0) if first and not frame.get("new") else 0
                self.gap = self.gap or bool(frame.get("gap"))
                self._size(frame)
                self._keyboard(frame)
            case "writer":
                self._keyboard(frame)
            case "size":
                self._size(frame)
            case "stream":
                self._stream = str(frame.get("stream"))
            case "gap":
                self.position, self.gap = int(frame.get("position") or 0), True
            case "pong":
                self.input_ended = self.input_ended or frame.get("id") == _FLUSHED
            case "exit":
                self.exit_code, self.signal, self.ended = frame.get("code"), frame.get("signal"), True
            case "error":
                self.problem, self._error = str(frame.get("message")), frame
            case _:
                pass

    def _size(self, frame: Mapping[str, Any]) -> None:
        self.columns, self.rows = int(frame.get("columns") or 80), int(frame.get("rows") or 24)

    def _keyboard(self, frame: Mapping[str, Any]) -> None:
        self.writer, self.by = bool(frame.get("writer")), frame.get("by")
        self.watchers = int(frame.get("watchers") or 0)

    def end_of_input(self) -> list[str]:
        """Return the frames that end the input and ask whether all of it has arrived."""
        return [json.dumps({"type": "eof"}), json.dumps({"type": "ping", "id": _FLUSHED})]

    def reconnect_delay_s(self, close_code: int, reason: str) -> float | None:
        """Return how long to wait before connecting again; None when the terminal has ended. Raises JelmoreError.

        Input through pipes is not repeated: when it breaks off in the middle, nobody knows how much has arrived.
        """
        if self.ended:
            return None
        self.failure = failure = self._failure(close_code, reason)
        unsure = self.opening.get("pty") is False and not self.input_ended and bool(self.instance)
        self.attempts += 1
        if not failure.retryable or unsure or self.attempts > MAX_ATTEMPTS:
            raise failure
        return backoff_s(min(self.attempts, 5))

    def _failure(self, close_code: int, reason: str) -> JelmoreError:
        code = str(self._error.get("code") or "")
        if code == "unknown_request" and self.instance:
            detail = "it has ended while the connection was broken"
            return error_of(Problem(409, "terminal_ended", "The terminal is gone", detail, "", False, None))
        status = _STATUS_OF_ERROR.get(code) or _STATUS_OF_CLOSE.get(close_code)
        if close_code == _ENDED and not code:
            status, code = 409, "ended"
        if status is None or (status == 503 and not code):  # noqa: PLR2004 - away
            return ConnectionFailedError(f"the connection to the terminal broke: {reason or close_code}")
        text = self.problem or reason or "the terminal was closed"
        kind = _CODE_OF_ERROR.get(code) or code or "terminal_closed"
        return error_of(Problem(status, kind, "The terminal is not open", text, "", status == 503, None))  # noqa: PLR2004


_QUESTION: Final = re.compile(
    rb"\x1b(?:\[[>=?]?[0-9;]*[cn]|\[[0-9;]*t|\[\??[0-9;]*\$p|\[>[0-9;]*q|\[\?u|\][0-9;]*;\?(?:\x07|\x1b\\)"
    rb"|P[$+]q[^\x1b]*\x1b\\|Z)|\x05"
)
_UNFINISHED: Final = re.compile(rb"\x1b(?:\[[>=?]?[0-9;]*\$?|\][0-9;]*\??\x1b?|P(?:[$+]q?[^\x1b]{0,256}\x1b?)?)?\Z")


@dataclass(slots=True)
class Unasked:
    """Takes out of replayed output what a program asked its screen: a second answer would be typed into the shell."""

    _cut: bytes = b""

    def feed(self, output: TerminalOutput) -> bytes:
        """Return what to show."""
        data, self._cut = self._cut + output.data, b""
        if not output.replayed:
            return data
        data = _QUESTION.sub(b"", data)
        unfinished = _UNFINISHED.search(data)
        if unfinished is not None:
            self._cut, data = unfinished[0], data[: unfinished.start()]
        return data
