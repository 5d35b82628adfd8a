"""Frames of a session's WebSocket: JSON text objects with a `type`.

`event` frames are `jelmore_protocol.events.Event`, sent as the very text of the journal line.
"""

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jelmore_protocol.bounds import MAX_ANSWER_CHARACTERS, MAX_ID_CHARACTERS, MAX_TOKEN_CHARACTERS
from jelmore_protocol.events import AgentState, Pending, ReportedWaiting, WaitingFor


class CloseCode(IntEnum):
    """Why a session's WebSocket was closed by the server."""

    ENDED = 1000  # the session has ended and everything was sent
    GOING_AWAY = 1001  # this end restarts; connect again with `after`
    BAD_FRAME = 1008
    TRY_LATER = 1013  # not ready, or too many connections
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    UNKNOWN_SESSION = 4404
    AUTH_TIMEOUT = 4408
    TOO_SLOW = 4429  # the reader fell behind; connect again with `after`


class ErrorCode(StrEnum):
    """Stable codes of `error` frames and of the control socket's error answers."""

    BAD_FRAME = "bad_frame"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"  # already answered, or not possible in this state
    UNKNOWN_REQUEST = "unknown_request"
    INPUT_EMPTY = "input_empty"
    INPUT_TOO_LARGE = "input_too_large"
    QUEUE_FULL = "queue_full"
    ENDED = "ended"
    WORKSPACE_FULL = "workspace_full"  # far above its limit: nothing is started until files are gone or the limit rises
    UNAVAILABLE = "unavailable"  # for now; try again


class ClientFrame(BaseModel):
    """What every client frame may carry: `id`, echoed in its `ack` or `error`. Fields of newer clients are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: str | None = Field(default=None, max_length=MAX_ID_CHARACTERS)


class AuthFrame(ClientFrame):
    """The first message of a client that could send its token in no other way."""

    type: Literal["auth"]
    token: str = Field(max_length=MAX_TOKEN_CHARACTERS)


class InputFrame(ClientFrame):
    """A prompt. `id` makes it idempotent: the same id is accepted once and acknowledged as often as it is sent."""

    type: Literal["input"]
    input: str


class InterruptFrame(ClientFrame):
    """Stop the running turn; nothing happens when none runs."""

    type: Literal["interrupt"]


class PermissionFrame(ClientFrame):
    """The answer to a pending permission or question. A second answer is a `conflict`."""

    type: Literal["permission"]
    request_id: str = Field(max_length=MAX_ID_CHARACTERS)
    decision: Literal["allow", "deny"]
    message: str | None = Field(default=None, max_length=MAX_ANSWER_CHARACTERS)
    answers: dict[str, str] | None = None
    updated_input: dict[str, Any] | None = None


class PingFrame(ClientFrame):
    """Answered by `pong` with the same id."""

    type: Literal["ping"]


class SubscribeFrame(ClientFrame):
    """Choose what this connection is sent. Deltas are on unless switched off."""

    type: Literal["subscribe"]
    deltas: bool = True


AnyClientFrame = Annotated[
    AuthFrame | InputFrame | InterruptFrame | PermissionFrame | PingFrame | SubscribeFrame,
    Field(discriminator="type"),
]
_CLIENT_FRAMES: TypeAdapter[AnyClientFrame] = TypeAdapter(AnyClientFrame)


class HelloFrame(BaseModel):
    """The first frame of the server: where the stream stands and what is pending.

    `resume` is `gap` when events after the asked `after` can no longer all be sent; the stream then starts at
    the oldest one kept. `seq` is the newest event at this moment. `live` is false while the session sleeps.
    """

    type: Literal["hello"] = "hello"
    protocol: int
    oldest_protocol: int | None = None  # the server speaks this to `protocol`; None is only `protocol`
    session_id: str
    resume: str  # ok, or gap
    seq: int
    state: AgentState | str
    waiting_for: ReportedWaiting = None
    pending: list[Pending] = []
    live: bool = True


class DeltaFrame(BaseModel):
    """A piece of a message that is still being written; disposable, the whole follows as an event.

    `data` is `{event, parent_tool_use_id, input_id}`, with `event` as the Messages API streams it.
    """

    type: Literal["delta"] = "delta"
    data: dict[str, Any]


class StateFrame(BaseModel):
    """The session's state, unnumbered: sent by the manager's streams on connect and at each change."""

    type: Literal["state"] = "state"
    state: str
    waiting_for: WaitingFor | None = None


class AckFrame(BaseModel):
    """The frame with this `id` took effect; for an input, `seq` is its event."""

    type: Literal["ack"] = "ack"
    id: str | None = None
    seq: int | None = None


class ErrorFrame(BaseModel):
    """The frame with this `id` had no effect."""

    type: Literal["error"] = "error"
    code: ErrorCode | str
    message: str
    id: str | None = None


class PongFrame(BaseModel):
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"
    id: str | None = None


class BadFrameError(ValueError):
    """A frame that is not of the protocol; the text names the field."""


def decode_client_frame(text: str) -> AnyClientFrame:
    """Return the frame in `text`. Raises BadFrameError naming what is wrong, never echoing the content."""
    try:
        return _CLIENT_FRAMES.validate_json(text)
    except ValidationError as error:
        raise BadFrameError(describe(error)) from None


def describe(error: ValidationError) -> str:
    """Return the first fault of a validation as one line: `field: what is wrong`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
