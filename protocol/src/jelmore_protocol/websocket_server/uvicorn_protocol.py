"""uvicorn's WebSocket, arranged so that one slow or hostile peer costs a bounded buffer for a bounded time.

uvicorn waits for room before it sends, also before it closes; its transport then waits for the peer without end.
"""

import asyncio

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from jelmore_protocol.frames import CloseCode
from jelmore_protocol.websocket_server.connection import CONNECTION_KEY
from jelmore_protocol.websocket_server.limits import MAX_BYTES_IN_FLIGHT, READER_FRAME_BYTES

LINGER_S = 5.0


class BytesInFlight:
    """What all connections of this process hold of frames that nobody has taken yet."""

    used: int = 0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Adds an end that does not wait for the peer, frames bounded by who the peer is, and a bound on all of them."""

    in_flight: BytesInFlight = BytesInFlight()
    _held = 0
    _queued = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from HTTP, whose watch over it ends here."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release what was held."""
        self._hold(0)
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        """Give the application its connection; when it is done, end also a peer that reads nothing."""
        self.scope["state"][CONNECTION_KEY] = self
        self.limit_frames(READER_FRAME_BYTES)
        try:
            await super().run_asgi()
        finally:
            self._linger()

    def limit_frames(self, most_bytes: int) -> None:
        """Bound the frames of the peer from here on."""
        self.conn.max_message_size = most_bytes

    def data_received(self, data: bytes) -> None:
        """Take data; disconnect a peer whose large frame does not fit beside those of all others."""
        super().data_received(data)
        self._hold(len(self.conn.reader.buffer) + sum(map(len, self.frames)) + self._queued)
        if self.in_flight.used > MAX_BYTES_IN_FLIGHT and self._held > READER_FRAME_BYTES and not self.close_sent:
            self.cut_off(CloseCode.TRY_LATER, "too much is being received; try again later")
            self.transport.pause_reading()

    def send_receive_event_to_app(self) -> None:
        """Count the frame until the application takes it."""
        if not self.close_sent:
            self._queued += sum(map(len, self.frames))
        super().send_receive_event_to_app()

    async def receive(self) -> ASGIReceiveEvent:
        """Return the next frame and release its bytes."""
        message = await super().receive()
        if self.queue.empty():
            self._hold(self._held - self._queued)
            self._queued = 0
        return message

    def _hold(self, held: int) -> None:
        if self.disconnected:
            held = 0
        self.in_flight.used += held - self._held
        self._held = held

    def cut_off(self, code: int, reason: str) -> None:
        """Close now: a peer that takes what is buffered within `LINGER_S` still learns why."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.writable.set()
        self._linger()

    def handle_ping(self) -> None:
        """Answer a ping while there is room; a peer that reads nothing would grow the buffer with each of them."""
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
        """Leave the peer a moment to take what is buffered; the transport's own close would wait without end."""
        self.loop.call_later(LINGER_S, self.transport.abort)
