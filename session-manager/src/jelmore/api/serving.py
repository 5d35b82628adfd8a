"""The server under the API: uvicorn, arranged so that a peer that reads nothing cannot hold a connection for ever.

uvicorn waits for room before it sends, also before it closes; and its transport then waits for the peer.
"""

import asyncio
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from jelmore_protocol import MAX_FRAME_BYTES

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 45.0
LINGER_S: Final = 5.0
STALLED_S: Final = 30.0
"""How long a peer may take nothing of an answer. One that takes a little goes on as long as it likes."""

UNKNOWN_PEER_BYTES: Final = 16 * 1024
KNOWN_PEER_BYTES: Final = 8 * 1024 * 1024
"""The largest frame a client may send once it is known: an input of 1 MiB, however its JSON is escaped."""

_KEY: Final = "jelmore.protocol"


class HttpProtocol(H11Protocol):
    """uvicorn's HTTP with an end for a peer that takes nothing of its answer, whether or not more of it is to come."""

    _waiting_bytes = 0
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hear of every byte that the peer does not take."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn names the narrower type
        self.transport.set_write_buffer_limits(high=0)

    def pause_writing(self) -> None:
        """Watch the peer while something waits for it."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """All was taken."""
        super().resume_writing()
        self._unwatch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop watching."""
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        self._waiting_bytes = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(STALLED_S, self._look)

    def _unwatch(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _look(self) -> None:
        if self.transport.get_write_buffer_size() < self._waiting_bytes:
            self._watch()
        else:
            self.transport.abort()


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket with an end that does not wait for the peer, and frames bounded by who the peer is."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from HTTP, whose watch over it ends here."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits()

    async def run_asgi(self) -> None:
        """Let the application reach its connection."""
        self.scope["state"][_KEY] = self
        self.limit_frames(UNKNOWN_PEER_BYTES)
        await super().run_asgi()

    def limit_frames(self, most_bytes: int) -> None:
        """Bound the frames of the peer from here on."""
        self.conn.max_message_size = most_bytes

    def cut_off(self, code: int, reason: str) -> None:
        """Close now: a peer that takes what is buffered within `LINGER_S` still learns why."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.writable.set()
        self._linger()

    def handle_ping(self) -> None:
        """Answer a ping while there is room; one who reads nothing would grow the buffer with each of them."""
        if self.close_sent or not self.writable.is_set():
            self.conn.data_to_send()  # takes the answer and drops it
        else:
            super().handle_ping()

    async def send(self, message: ASGISendEvent) -> None:
        """Send when there is room; what ends the connection ends it for a peer that reads nothing, too."""
        await super().send(message)
        if self.close_sent:
            self._linger()

    def handle_close(self, event: Frame) -> None:
        """Answer the peer's close."""
        super().handle_close(event)
        self._linger()

    def handle_parser_exception(self) -> None:
        """Refuse what is no WebSocket frame, or too large a one."""
        super().handle_parser_exception()
        self._linger()

    def keepalive_timeout(self) -> None:
        """End a dead peer, also one whose buffer never drains."""
        super().keepalive_timeout()
        self._linger()

    def _linger(self) -> None:
        """Leave the peer a moment to take what is buffered; the transport's own close would wait for ever."""
        self.loop.call_later(LINGER_S, self.transport.abort)


def protocol_of(scope: Scope) -> WebSocketProtocol | None:
    """Return the connection under a WebSocket; None under another server, which then keeps its own ways."""
    found = scope.get("state", {}).get(_KEY)
    return found if isinstance(found, WebSocketProtocol) else None


def server_config(app: ASGIApp, **more: Any) -> uvicorn.Config:
    """Return how uvicorn serves the API. `more` says where it listens."""
    return uvicorn.Config(
        app,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=MAX_FRAME_BYTES,
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
