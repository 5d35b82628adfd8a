"""Terminals in sandboxes, by way of their runners."""

from typing import Protocol

from jelmore.session.world import ControlAddress


class TerminalClosedError(Exception):
    """The runner has closed the connection, with this WebSocket close code (1006: without one)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class TerminalLink(Protocol):
    """One client's connection to a terminal. Frames pass unchanged: texts, and bytes of the screen."""

    async def receive(self) -> str | bytes:
        """Return the next frame of the runner. Raises TerminalClosedError. Only one task may call it."""

    async def send(self, frame: str | bytes) -> None:
        """Send a frame to the runner; returns when it is on its way. Raises TerminalClosedError."""

    async def close(self) -> None:
        """Close the connection. May run twice."""


class TerminalLinks(Protocol):
    """Connects to terminals. `at` comes from `Sandbox.control`."""

    async def connect(self, at: ControlAddress, opening: str, *, subject: str, can_write: bool) -> TerminalLink:
        """Send an `open` frame for a client; return the connection once the runner has answered it.

        Raises DependencyError when there is no answer, or the runner is not ready for it, and RefusedError when it
        has no terminals because its image is an earlier one.
        """
