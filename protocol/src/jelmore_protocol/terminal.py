"""Frames of a terminal's WebSocket: bytes in binary frames, everything else as JSON objects in text frames.

The client sends `open` first. The server answers with `opened`, then sends the output from `opened.position` on. A
client counts the bytes that it receives; with `instance` and `after` in its next `open` it continues without a gap.
"""

from enum import StrEnum
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from jelmore_protocol.bounds import MAX_ID_CHARACTERS, MAX_SEQ
from jelmore_protocol.frames import AuthFrame, BadFrameError, ClientFrame, PingFrame, describe
from jelmore_protocol.options import VolumePath

MAX_TYPED_BYTES: Final = 64 * 1024
"""The largest binary frame of a client."""

RING_BYTES: Final = 256 * 1024
"""How much of a terminal's output is kept for those who connect later."""

MAX_TERMINALS: Final = 8
"""How many terminals one session has at once."""

MAX_COMMAND_CHARACTERS: Final = 32 * 1024
MAX_SIDE: Final = 1000
DEFAULT_NAME: Final = "main"

TerminalName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]


class Stream(StrEnum):
    """Where a piece of output comes from. A terminal with a screen has only `stdout`."""

    STDOUT = "stdout"
    STDERR = "stderr"


class OpenFrame(ClientFrame):
    """The first frame: which terminal, and what to start when there is none of that name."""

    type: Literal["open"]
    terminal: TerminalName | None = None  # None: `main`, or one of its own for a command
    instance: str | None = Field(default=None, max_length=MAX_ID_CHARACTERS)  # only this one: it is not started again
    after: int | None = Field(default=None, ge=0, le=MAX_SEQ)  # continue at this position; None: replay what is kept
    columns: Side = 80
    rows: Side = 24
    term: str = Field(default="xterm-256color", pattern=r"^[A-Za-z0-9][A-Za-z0-9.+_-]{0,63}$")
    command: str | None = Field(default=None, min_length=1, max_length=MAX_COMMAND_CHARACTERS)  # None: a login shell
    cwd: VolumePath | None = None  # None: the session's working directory
    pty: bool = True  # false: pipes instead of a screen, for commands whose input or output is a file
    watch: bool = False  # only look on
    take: bool = False  # take the keyboard from whoever has it


class ResizeFrame(ClientFrame):
    """The size of the writer's screen."""

    type: Literal["resize"]
    columns: Side
    rows: Side


class TakeFrame(ClientFrame):
    """Become the client that types. The other one continues to watch."""

    type: Literal["take"]


class EofFrame(ClientFrame):
    """Nothing more will be typed: closes the input of a command without a screen; a screen gets Ctrl-D."""

    type: Literal["eof"]


class EndFrame(ClientFrame):
    """End the terminal's processes."""

    type: Literal["end"]


type Command = ResizeFrame | TakeFrame | EofFrame | EndFrame

AnyTerminalFrame = Annotated[
    OpenFrame | ResizeFrame | TakeFrame | EofFrame | EndFrame | AuthFrame | PingFrame, Field(discriminator="type")
]
_FRAMES: TypeAdapter[AnyTerminalFrame] = TypeAdapter(AnyTerminalFrame, config=ConfigDict(defer_build=True))


class OpenedFrame(BaseModel, defer_build=True):
    """The first frame of the server."""

    type: Literal["opened"] = "opened"
    terminal: str
    instance: str
    new: bool  # it was started for this client
    position: int  # of the first byte that follows
    end: int | None = None  # what comes before this position was written before: its questions are answered already
    gap: bool = False  # some of the output after the requested position is no longer kept
    pty: bool = True
    columns: int
    rows: int
    writer: bool
    by: str | None = None  # who types: the id of an API key
    watchers: int = 0  # the connections, except the writer's


class SizeFrame(BaseModel, defer_build=True):
    """The writer's screen has another size."""

    type: Literal["size"] = "size"
    columns: int
    rows: int


class WriterFrame(BaseModel, defer_build=True):
    """Who types, and how many others look on. `writer`: this connection types."""

    type: Literal["writer"] = "writer"
    writer: bool
    by: str | None = None
    watchers: int = 0


class StreamFrame(BaseModel, defer_build=True):
    """The bytes that follow come from this stream. Without one they come from `stdout`."""

    type: Literal["stream"] = "stream"
    stream: Stream


class GapFrame(BaseModel, defer_build=True):
    """This watcher was too slow. Output was left out; the next byte is at `position`."""

    type: Literal["gap"] = "gap"
    position: int


class ExitFrame(BaseModel, defer_build=True):
    """The last frame: all processes of the terminal have ended. `code` is 128 and the number for a signal."""

    type: Literal["exit"] = "exit"
    code: int | None = None
    signal: str | None = None


def decode_terminal_frame(text: str) -> AnyTerminalFrame:
    """Return the frame in `text`. Raises BadFrameError; its text names the field, never the content."""
    try:
        return _FRAMES.validate_json(text)
    except ValidationError as error:
        raise BadFrameError(describe(error)) from None
