"""A WebSocket connection whose sends and closes have a deadline."""

import asyncio
from typing import Final, Protocol

from starlette.websockets import WebSocket, WebSocketDisconnect

from jelmore_protocol.frames import CloseCode

CONNECTION_KEY: Final = "jelmore.connection"
"""The key of the `Transport` in the ASGI scope's `state`."""

REASONS: Final = {
    CloseCode.ENDED: "the session has ended",
    CloseCode.GOING_AWAY: "connect again with after",
    CloseCode.BAD_FRAME: "too many bad frames",
    CloseCode.TRY_LATER: "try again later",
    CloseCode.UNAUTHENTICATED: "a valid key or token is needed",
    CloseCode.FORBIDDEN: "this key or token opens something else",
    CloseCode.UNKNOWN_SESSION: "there is no such session",
    CloseCode.AUTH_TIMEOUT: "no token came in time",
    CloseCode.TOO_SLOW: "the reader fell behind; connect again with after",
}
_MAX_REASON_BYTES: Final = 120


class ClosedError(Exception):
    """The connection is closed."""


class Transport(Protocol):
    """What our uvicorn protocol adds to an ASGI WebSocket."""

    def limit_frames(self, most_bytes: int) -> None:
        """Bound the frames of the peer from here on."""

    def cut_off(self, code: int, reason: str) -> None:
        """Close without waiting for the peer."""


class Connection:
    """A WebSocket with deadlines. Without a `Transport` in its scope, the limits of the ASGI server apply."""

    def __init__(self, websocket: WebSocket, send_timeout_s: float) -> None:
        self.websocket = websocket
        self._send_timeout_s = send_timeout_s
        self._transport: Transport | None = websocket.scope.get("state", {}).get(CONNECTION_KEY)

    def limit_frames(self, most_bytes: int) -> None:
        """Bound the frames of the peer from here on."""
        if self._transport is not None:
            self._transport.limit_frames(most_bytes)

    async def receive(self) -> str | None:
        """Return the text of the next frame; None for a binary frame. Raises ClosedError when the peer disconnected."""
        frame = await self.receive_any()
        return frame if isinstance(frame, str) else None

    async def receive_any(self) -> str | bytes:
        """Return the content of the next frame, text or binary. Raises ClosedError when the peer disconnected."""
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise ClosedError
        text = message.get("text")
        return bytes(message.get("bytes") or b"") if text is None else str(text)

    async def send(self, content: str | bytes) -> None:
        """Send a frame, text or binary. Raises ClosedError. A peer that does not read in time is disconnected."""
        kind = "text" if isinstance(content, str) else "bytes"
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self.websocket.send({"type": "websocket.send", kind: content})
        except TimeoutError:
            self._cut_off(CloseCode.TOO_SLOW)
            raise ClosedError from None
        except (WebSocketDisconnect, RuntimeError, OSError):
            raise ClosedError from None

    async def close(self, code: CloseCode, reason: str = "") -> None:
        """Close with a code. May be called on a closed connection. A peer that does not read is disconnected."""
        text = (reason or REASONS.get(code, "")).encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._send_timeout_s):
                await self.websocket.close(code, text)
        except TimeoutError:
            self._cut_off(code)
        except (WebSocketDisconnect, RuntimeError, OSError):
            return

    def _cut_off(self, code: CloseCode) -> None:
        if self._transport is not None:
            self._transport.cut_off(code, REASONS.get(code, ""))
