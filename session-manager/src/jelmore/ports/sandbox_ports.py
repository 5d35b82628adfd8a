"""Connections to TCP ports in sandboxes, by way of their runners."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from jelmore.session.world import ControlAddress


class PortClosedError(Exception):
    """The connection is closed. `in_order` is False when it broke off: what came before is then not complete.

    `revoked`: the sandbox has closed it, because the credential of its client was revoked.
    """

    def __init__(self, *, in_order: bool, revoked: bool = False) -> None:
        super().__init__("closed" if in_order else "broken off")
        self.in_order = in_order
        self.revoked = revoked


class PortConnection(Protocol):
    """One connection to a server in a sandbox. One task may receive while another one sends."""

    async def receive(self) -> bytes:
        """Return the next bytes of the server, at most 64 KiB. Raises PortClosedError at the end."""

    async def send(self, data: bytes) -> None:
        """Send at most 64 KiB; returns when they are on their way. Raises PortClosedError."""

    async def end(self) -> None:
        """Say that no more bytes are sent. Raises PortClosedError."""

    async def close(self) -> None:
        """Close the connection. May run twice."""


class PortConnections(Protocol):
    """Connects to ports. `at` comes from `Sandbox.control`."""

    async def connect(self, at: ControlAddress, port: int, *, subject: str) -> PortConnection:
        """Connect to a port of the sandbox's loopback for the client `subject`. The caller closes what it gets.

        Raises NotFoundError when no process of the agent listens there, CapacityError when the session has too many
        connections, DependencyError when there is no answer, RefusedError for a runner of an earlier version.
        """


class PortSocketClosedError(Exception):
    """A server in a sandbox closed its WebSocket, with this code (1006: without one)."""

    def __init__(self, code: int, reason: str = "") -> None:
        super().__init__(f"closed with {code}")
        self.code = code
        self.reason = reason


class PortHandshakeError(Exception):
    """A server in a sandbox refused a WebSocket, with this HTTP status."""

    def __init__(self, status: int) -> None:
        super().__init__(f"refused with {status}")
        self.status = status


@dataclass(frozen=True, slots=True)
class PortRequest:
    """A request to a server in a sandbox. `target` is path and query as the client wrote them."""

    method: str
    target: str
    headers: Sequence[tuple[str, str]]
    body: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class PortResponse:
    """The response of a server in a sandbox. `body` raises DependencyError when it breaks off."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: AsyncIterator[bytes]


class PortSocket(Protocol):
    """A WebSocket to a server in a sandbox."""

    subprotocol: str | None

    async def receive(self) -> str | bytes:
        """Return the next message. Raises PortSocketClosedError."""

    async def send(self, message: str | bytes) -> None:
        """Send a message. Raises PortSocketClosedError."""


class PortHttp(Protocol):
    """HTTP over one connection to a port: each connection carries one request or one WebSocket.

    Requests are parsed and written again, so that no byte of a client is taken for a second request. Both calls raise
    CapacityError when this process can open no more connections.
    """

    def request(self, connection: PortConnection, request: PortRequest) -> AbstractAsyncContextManager[PortResponse]:
        """Send a request and yield its response. Raises DependencyError for what is no HTTP, or no answer in time."""

    def socket(
        self, connection: PortConnection, request: PortRequest, subprotocols: Sequence[str]
    ) -> AbstractAsyncContextManager[PortSocket]:
        """Open a WebSocket. Raises PortHandshakeError, and DependencyError as `request` does."""
