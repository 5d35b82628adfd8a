"""Connections to TCP ports in sandboxes, by way of their runners."""

from typing import Protocol

from jelmore.session.world import ControlAddress


class PortClosedError(Exception):
    """The connection is closed. `in_order` is False when it broke off: what came before is then not complete."""

    def __init__(self, *, in_order: bool) -> None:
        super().__init__("closed" if in_order else "broken off")
        self.in_order = in_order


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
