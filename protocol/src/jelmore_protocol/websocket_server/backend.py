"""What the server requires of its host, the runner or the manager."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Never, Protocol

from jelmore_protocol.frames import (
    CancelInputFrame,
    ChangeInputFrame,
    CloseCode,
    ErrorCode,
    InputFrame,
    PermissionFrame,
)
from jelmore_protocol.tokens import EPOCH_MARK
from jelmore_protocol.websocket_server.limits import ServerLimits


class CloseError(Exception):
    """Close the connection with `code`. The text is used when the code becomes an `error` frame instead."""

    def __init__(self, code: CloseCode, message: str = "") -> None:
        super().__init__(message)
        self.code = code


class FrameRefusedError(Exception):
    """A client frame had no effect. The server responds with an `error` frame."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Admission:
    """What a credential allows."""

    subject: str  # that of the token, or the id of the API key; budgets count by it
    can_write: bool
    expires_at: float | None = None  # seconds since the epoch; None: until revoked
    token_epoch: int = 0  # of the session token

    @property
    def holder(self) -> str:
        """Who it is, as events name them: the subject without the epoch of an account."""
        return self.subject.partition(EPOCH_MARK)[0]


@dataclass(slots=True, eq=False)
class Client:
    """An authenticated connection, as the backend sees it."""

    admission: Admission
    after: int | None
    wants_deltas: bool = True
    renewed: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    close_code: CloseCode | None = None

    def end(self, code: CloseCode) -> None:
        """Close the connection with `code`. May be called again; the first code counts."""
        self.close_code = self.close_code or code
        self.ending.set()


class Item(NamedTuple):
    """A frame to send: a text, or `data` as a binary frame."""

    text: str
    is_delta: bool = False
    data: bytes | None = None


class ConnectionPolicy(Protocol):
    """Decides who may connect to a session, and for how long. Every method may raise CloseError."""

    limits: ServerLimits

    def check_open(self) -> None:
        """Raise CloseError while no connections are accepted."""

    async def authenticate(self, credential: str) -> Admission:
        """Return what the credential allows. Raises CloseError."""

    def counted(self, client: Client) -> AbstractContextManager[None]:
        """Count the connection while it is open. Raises CloseError when there are too many."""

    async def stay(self, client: Client) -> Never:
        """Wait; raise CloseError when the client's credential has expired or was revoked."""


class Backend(ConnectionPolicy, Protocol):
    """Access to one session. The methods that act on frames may also raise FrameRefusedError."""

    def stream(self, client: Client) -> AsyncGenerator[Item]:
        """Yield `hello` and the frames that follow. Ends with CloseError."""

    async def input(self, client: Client, frame: InputFrame) -> int | None:
        """Accept a prompt; return the seq of its event."""

    async def change_input(self, client: Client, frame: ChangeInputFrame) -> int | None:
        """Change the text of an input that waits; return the seq of the event."""

    async def cancel_input(self, client: Client, frame: CancelInputFrame) -> int | None:
        """Remove an input that waits; return the seq of the event."""

    async def interrupt(self, client: Client) -> None:
        """Stop the running turn."""

    async def answer(self, client: Client, frame: PermissionFrame) -> int | None:
        """Answer a pending request; return the seq of the answer."""
