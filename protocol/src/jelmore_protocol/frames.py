"""Frames of a session's WebSocket: JSON objects in text frames, with a `type`.

`event` frames are `jelmore_protocol.events.Event`, sent as the unchanged text of the journal line.
"""

from enum import IntEnum, StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, FailFast, Field, TypeAdapter, ValidationError

from jelmore_protocol.bounds import MAX_ID_CHARACTERS, MAX_TOKEN_CHARACTERS
from jelmore_protocol.content import Blocks, text_of
from jelmore_protocol.control import PermissionAnswer
from jelmore_protocol.events import AgentState, Pending, ReportedWaiting, WaitingFor
from jelmore_protocol.permissions import Answer


class CloseCode(IntEnum):
    """Why the server closed a session's WebSocket."""

    ENDED = 1000  # the session has ended and everything was sent
    GOING_AWAY = 1001  # the server is restarting or draining; reconnect with `after`
    BAD_FRAME = 1008
    TRY_LATER = 1013  # not ready, or too many connections
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    UNKNOWN_SESSION = 4404
    AUTH_TIMEOUT = 4408
    TOO_SLOW = 4429  # the client reads too slowly; reconnect with `after`


class ErrorCode(StrEnum):
    """Stable codes of `error` frames and of error responses on the control socket."""

    BAD_FRAME = "bad_frame"
    FORBIDDEN = "forbidden"
    CONFLICT = "conflict"  # already answered, or not possible in this state
    UNKNOWN_REQUEST = "unknown_request"
    INPUT_EMPTY = "input_empty"
    INPUT_TOO_LARGE = "input_too_large"
    QUEUE_FULL = "queue_full"
    ENDED = "ended"
    WORKSPACE_FULL = (
        "workspace_full"  # far above its limit: no input starts until files are deleted or the limit is raised
    )
    UNAVAILABLE = "unavailable"  # temporarily; try again


class ClientFrame(BaseModel):
    """Base of client frames. `id` is repeated in the `ack` or `error`. Fields of newer clients are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True, defer_build=True)

    id: str | None = Field(default=None, max_length=MAX_ID_CHARACTERS)


class AuthFrame(ClientFrame):
    """Sends a token: as the first frame of a client that cannot set headers, and later to renew it."""

    type: Literal["auth"]
    token: str = Field(max_length=MAX_TOKEN_CHARACTERS)


class InputFrame(ClientFrame):
    """A prompt, as a text or as content blocks. A repeated `id` is acknowledged again but runs once."""

    type: Literal["input"]
    input: str | Blocks
    expand: bool = False  # run slash commands, and read the files that `@path` names

    @property
    def text(self) -> str:
        """The plain text of the prompt."""
        return self.input if isinstance(self.input, str) else text_of(self.input)


class ChangeInputFrame(ClientFrame):
    """Gives an input that waits another text. A `conflict` when the agent has it already."""

    type: Literal["change_input"]
    input_id: str = Field(max_length=MAX_ID_CHARACTERS)
    input: str


class CancelInputFrame(ClientFrame):
    """Removes an input that waits. A `conflict` when the agent has it already."""

    type: Literal["cancel_input"]
    input_id: str = Field(max_length=MAX_ID_CHARACTERS)


class InterruptFrame(ClientFrame):
    """Stops the running turn. Does nothing when no turn runs."""

    type: Literal["interrupt"]


class PermissionFrame(ClientFrame, Answer):
    """The answer to a pending permission or question. Later answers get a `conflict`."""

    type: Literal["permission"]
    request_id: str = Field(max_length=MAX_ID_CHARACTERS)

    def answer(self, by: str = "") -> PermissionAnswer:
        """Return the answer of this frame, given by `by`."""
        fields = self.model_fields_set & Answer.model_fields.keys()
        return PermissionAnswer(**{name: getattr(self, name) for name in fields}, by=by)


class PingFrame(ClientFrame):
    """Answered with a `pong` of the same id."""

    type: Literal["ping"]


class SubscribeFrame(ClientFrame):
    """Turns deltas on this connection on or off. They are on by default."""

    type: Literal["subscribe"]
    deltas: bool = True


AnyClientFrame = Annotated[
    AuthFrame
    | InputFrame
    | ChangeInputFrame
    | CancelInputFrame
    | InterruptFrame
    | PermissionFrame
    | PingFrame
    | SubscribeFrame,
    Field(discriminator="type"),
]
CLIENT_FRAMES: TypeAdapter[AnyClientFrame] = TypeAdapter(AnyClientFrame, config=ConfigDict(defer_build=True))


class HelloFrame(BaseModel, defer_build=True):
    """The first frame of the server: the position of the stream and the pending requests.

    `resume` is `gap` when some events after the requested `after` are no longer available; the stream then starts at
    the oldest one available. `seq` is the newest event. `live` is false while the session is not awake.
    """

    type: Literal["hello"] = "hello"
    protocol: int
    oldest_protocol: int | None = None  # the oldest version the server speaks; None: only `protocol`
    session_id: str
    resume: str  # "ok" or "gap"
    seq: int
    state: AgentState | str
    waiting_for: ReportedWaiting = None
    pending: Annotated[list[Pending], FailFast()] = []
    live: bool = True


class DeltaFrame(BaseModel, defer_build=True):
    """A piece of a message that is still being written. Disposable: the complete message follows as an event.

    `data` is `{event, parent_tool_use_id, input_id}`, with `event` as the Messages API streams it.
    """

    type: Literal["delta"] = "delta"
    data: dict[str, Any]


class StateFrame(BaseModel, defer_build=True):
    """The session's state, not numbered. The manager's streams send it on connect and at each change."""

    type: Literal["state"] = "state"
    state: str
    waiting_for: WaitingFor | None = None


class AckFrame(BaseModel, defer_build=True):
    """The frame with this `id` took effect. `seq` is the event of an input or answer."""

    type: Literal["ack"] = "ack"
    id: str | None = None
    seq: int | None = None


class ErrorFrame(BaseModel, defer_build=True):
    """The frame with this `id` had no effect."""

    type: Literal["error"] = "error"
    code: ErrorCode | str
    message: str
    id: str | None = None


class PongFrame(BaseModel, defer_build=True):
    """The answer to `ping`."""

    type: Literal["pong"] = "pong"
    id: str | None = None


class BadFrameError(ValueError):
    """An invalid frame. The text names the field."""


def decode_client_frame(text: str) -> AnyClientFrame:
    """Return the frame in `text`. Raises BadFrameError; its text names the field, never the content."""
    try:
        return CLIENT_FRAMES.validate_json(text)
    except ValidationError as error:
        raise BadFrameError(describe(error)) from None


def describe(error: ValidationError) -> str:
    """Return the first error of a validation as one line: `field: what is wrong`."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])
