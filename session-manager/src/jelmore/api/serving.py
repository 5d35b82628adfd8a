"""Runs the API under uvicorn, and disconnects clients that stop reading.

By itself, uvicorn waits without a limit for such a client before it sends or closes, and so does its transport.
"""

import asyncio
import socket
from typing import Any, ClassVar, Final

import uvicorn
from starlette.types import ASGIApp

from jelmore_protocol.websocket_server import WRITER_FRAME_BYTES, ReservingProtocol, WebSocketProtocol

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 45.0
STALLED_S: Final = 30.0
"""A client that reads nothing of a response for this long is disconnected. A slow client is not."""


MAX_UNREAD_BYTES: Final = 256 * 1024 * 1024
"""Unread bytes of the responses to all clients. Beyond it, the client that has waited longest is disconnected."""


class HttpProtocol(ReservingProtocol):
    """uvicorn's HTTP protocol; it disconnects a client that reads nothing for `STALLED_S`, also after the last byte.

    A client that reads a byte from time to time stays connected, so the unread bytes of all clients are bounded too.
    """

    unread: ClassVar[dict["HttpProtocol", int]] = {}
    """The connections with unread bytes, in the order in which they began to wait."""

    _waiting_bytes = 0
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the write buffer limit to 0, so that `pause_writing` is called for the first unread byte."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Start the timer, because data waits for the client."""
        super().pause_writing()
        self._watch()
        while sum(self.unread.values()) > MAX_UNREAD_BYTES and len(self.unread) > 1:
            longest = next(iter(self.unread))
            longest._unwatch()  # noqa: SLF001 - of this class
            longest.transport.abort()

    def resume_writing(self) -> None:
        """Stop the timer: the client has read everything."""
        super().resume_writing()
        self._unwatch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._waiting_bytes = self.transport.get_write_buffer_size()
        self.unread[self] = self._waiting_bytes
        self._stall = self.loop.call_later(STALLED_S, self._look)

    def _unwatch(self) -> None:
        self.unread.pop(self, None)
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _look(self) -> None:
        if self.transport.get_write_buffer_size() < self._waiting_bytes:
            self._watch()
        else:
            self.transport.abort()


class Server(uvicorn.Server):
    """uvicorn's server; before it stops, it lets the application end the waits of its requests (`state.leave`).

    A request that waits for a turn could otherwise only be cancelled, after `timeout_graceful_shutdown`.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop serving."""
        leave = getattr(getattr(self.config.app, "state", None), "leave", None)
        if leave is not None:
            leave()
        await super().shutdown(sockets)


def server_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """Return uvicorn's configuration for the API. `more` is passed on, for example where to listen."""
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=WRITER_FRAME_BYTES,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        ws_per_message_deflate=False,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=5,
        **more,
    )
