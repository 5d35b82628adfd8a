"""The server under the API: uvicorn, arranged so that a peer that reads nothing cannot hold a connection for ever.

uvicorn waits for room before it sends, also before it closes; and its transport then waits for the peer.
"""

from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp, Scope
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from jelmore_wire import MAX_FRAME_BYTES

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 45.0
LINGER_S: Final = 5.0
UNKNOWN_PEER_BYTES: Final = 16 * 1024
KNOWN_PEER_BYTES: Final = 8 * 1024 * 1024
"""The largest frame a client may send once it is known: an input of 1 MiB, however its JSON is escaped."""

_KEY: Final = "jelmore.protocol"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket with an end that does not wait for the peer, and frames bounded by who the peer is."""

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
