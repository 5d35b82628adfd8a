"""The position in a session's output across reconnections: nothing is lost and nothing comes twice."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from jelmore_client.core.requests import backoff_s
from jelmore_client.errors import ApiError, JelmoreError, ProtocolError, StreamGapError

if TYPE_CHECKING:
    from jelmore_client.event_models import LoggedEvent
    from jelmore_client.models import Event

DELTA: Final = "delta"
"""The kind of a piece of a message that is still being written: not numbered, and the whole message follows it."""

POSITION: Final = "position"
"""The name of a frame that has an id only: what was before it needs no second reading."""

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """A server-sent event: its name, its data as JSON, its id."""

    name: str
    data: dict[str, Any]
    id: str | None = None


class SseDecoder:
    """Splits the bytes of an event stream into frames. Memory is bounded by `MAX_FRAME_BYTES`."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Yield the frames that are complete with `piece`. Raises ProtocolError."""
        self._buffer += piece.replace(b"\r\n", b"\n")
        while (end := self._buffer.find(b"\n\n")) >= 0:
            block = bytes(self._buffer[:end])
            del self._buffer[: end + 2]
            if (frame := _frame(block)) is not None:
                yield frame
        if len(self._buffer) > MAX_FRAME_BYTES:
            raise ProtocolError("a frame of the event stream is too large")


def _frame(block: bytes) -> Frame | None:
    name, frame_id, lines = "message", None, []
    for line in block.decode("utf-8", "replace").split("\n"):
        key, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if key == "event":
            name = value
        elif key == "id":
            frame_id = value
        elif key == "data":
            lines.append(value)
    if not lines:  # a keepalive comment, or an id alone: a new position
        return None if frame_id is None else Frame(POSITION, {}, frame_id)
    try:
        data = json.loads("\n".join(lines))
    except ValueError:
        raise ProtocolError("a frame of the event stream is not JSON") from None
    return Frame(name, data if isinstance(data, dict) else {}, frame_id)


class StreamPosition[E](Protocol):
    """Where the reader of a stream is, and what it makes of each frame."""

    ended: bool

    def left_s(self, now: float) -> float:
        """Return the seconds until the deadline. Raises TimeoutError when it has passed."""
        ...

    def params(self) -> dict[str, Any]:
        """Return the query parameters of the next connection."""
        ...

    def take(self, frame: Frame) -> E | None:
        """Take a frame; return what the reader gets of it."""
        ...

    def reconnect_delay_s(self, error: JelmoreError | None) -> float | None:
        """Return how long to wait before the next connection; None: there is none."""
        ...


@dataclass(slots=True)
class _Reader:
    """What all positions share: the deadline, and when to connect again. `after` is the newest number that was read."""

    after: int | None = 0
    ended: bool = False
    failures: int = 0
    deadline: float | None = None
    """When the reader gives up, on a monotonic clock."""

    def left_s(self, now: float) -> float:
        """Return the seconds until the deadline. Raises TimeoutError when it has passed."""
        if self.deadline is None:
            return float("inf")
        if now >= self.deadline:
            raise TimeoutError("no result within the given time; the turn continues")
        return self.deadline - now

    def reconnect_delay_s(self, error: JelmoreError | None) -> float | None:
        """Return how long to wait before connecting again after the connection broke; None: the stream is over.

        A refusal that will not change (wrong key, unknown session) is raised by the caller: None is returned.
        """
        if self.ended:
            return None
        self.failures += 1
        if isinstance(error, ApiError) and error.retry_after_s is not None and error.retryable:
            return error.retry_after_s
        if error is not None and not error.retryable:
            return None
        return backoff_s(self.failures)


@dataclass(slots=True)
class Cursor(_Reader):
    """Where a reader is. `after` is the seq of the newest event it has; None before the first answer: only new ones."""

    deltas: bool = False
    """Whether pieces of messages are wanted too."""

    state: dict[str, Any] = field(default_factory=dict)
    """The session's state as last reported: {state, waiting_for}."""

    def params(self) -> dict[str, str]:
        """Return the query parameters of the next connection."""
        return {} if self.after is None else {"after": str(self.after)}

    def take(self, frame: Frame) -> "Event | None":
        """Take a frame; return its event if it is new.

        Raises StreamGapError when output is missing, and the refusal when the stream ends with an error.
        """
        from jelmore_client.models import Event

        match frame.name:
            case "hello":
                self._hello(frame.data)
            case "state":
                self.state = frame.data
            case "end":
                self.ended = True
            case "error":
                raise _StreamBrokeError(frame.data)
            case "delta" if self.deltas:
                return Event(seq=self.after or 0, kind=DELTA, at=datetime.now(UTC), data=frame.data.get("data") or {})
            case "event":
                event = Event.read(frame.data)
                if event.seq <= (self.after or 0):
                    return None
                self.after, self.failures = event.seq, 0
                return event
            case _:
                pass
        return None

    def _hello(self, data: dict[str, Any]) -> None:
        self.state = {"state": data.get("state"), "waiting_for": data.get("waiting_for")}
        if data.get("resume") == "gap":
            raise StreamGapError(self.after or 0)
        if self.after is None:
            self.after = int(data.get("seq", 0))


@dataclass(slots=True)
class LogCursor(_Reader):
    """Where a reader of the event log is. `after` is a position; None before the first answer: only new events."""

    filters: dict[str, Any] = field(default_factory=dict)

    def params(self) -> dict[str, Any]:
        """Return the query parameters of the next connection."""
        return self.filters if self.after is None else {**self.filters, "after": self.after}

    def take(self, frame: Frame) -> "LoggedEvent | None":
        """Take a frame; return its event if it is new. Raises as `Cursor.take` does."""
        from jelmore_client.event_models import LoggedEvent

        match frame.name:
            case "hello":
                if frame.data.get("resume") == "gap" and self.after:
                    raise StreamGapError(self.after)
                if self.after is None and frame.id:
                    self.after = int(frame.id)
            case "error":
                raise _StreamBrokeError(frame.data)
            case "position" if frame.id:
                self.after = max(self.after or 0, int(frame.id))
            case "event":
                event = LoggedEvent.read(frame.data)
                if event.position <= (self.after or 0):
                    return None
                self.after, self.failures = event.position, 0
                return event
            case _:
                pass
        return None


class _StreamBrokeError(JelmoreError):
    """The server ended the stream with an `error` frame."""

    def __init__(self, data: dict[str, Any]) -> None:
        super().__init__(f"{data.get('message')} [{data.get('status')} {data.get('code')}]")
        self.retryable = int(data.get("status") or 500) >= 500  # noqa: PLR2004 - the 5xx statuses
