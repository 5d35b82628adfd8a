"""uvicorn's WebSocket protocol with bounded memory and time for a slow or hostile peer.

By itself, uvicorn waits without a limit for a peer that does not read, before it sends or closes, and so does its
transport.
"""

import asyncio

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Close, Frame

from jelmore_protocol.frames import CloseCode
from jelmore_protocol.websocket_server.connection import CONNECTION_KEY
from jelmore_protocol.websocket_server.limits import MAX_BYTES_IN_FLIGHT, READER_FRAME_BYTES

LINGER_S = 5.0
QUIET_S = 1.0


class BytesInFlight:
    """Bytes of received frames, over all connections of this process, that the application has not taken yet."""

    used: int = 0


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Adds closing with a deadline, a limit on frames per peer, and a limit on the received bytes of all peers."""

    in_flight: BytesInFlight = BytesInFlight()
    _held = 0
    _queued = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection over from HTTP, and restore the default write buffer limits."""
        super().connection_made(transport)
        self.transport.set_write_buffer_limits()

    def connection_lost(self, exc: Exception | None) -> None:
        """Release the bytes that were counted."""
        self._hold(0)
        super().connection_lost(exc)

    async def run_asgi(self) -> None:
        """Run the application with this object as `Transport`; then disconnect the peer, even if it reads nothing."""
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
        """Receive data. A peer with a large frame is disconnected when all frames together exceed the limit."""
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
        """Return the next frame. Its bytes no longer count when the queue is empty."""
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
        """Close without waiting. A peer that reads the buffered data within `LINGER_S` still gets the close frame."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.writable.set()
        self._linger()

    def handle_ping(self) -> None:
        """Answer a ping, unless the peer does not read: each pong would make the write buffer grow."""
        if self.close_sent or not self.writable.is_set():
            self.conn.data_to_send()  # discards the pong
        else:
            super().handle_ping()

    async def send(self, message: ASGISendEvent) -> None:
        """Send a message. After a close frame, a peer that reads nothing is disconnected too."""
        await super().send(message)
        if self.close_sent:
            self._linger()

    def handle_close(self, event: Frame) -> None:
        """Answer the peer's close frame."""
        super().handle_close(event)
        self._linger()

    def handle_parser_exception(self) -> None:
        """Close after an invalid or too large frame, once the peer has sent nothing for `QUIET_S`, at most `LINGER_S`.

        uvicorn closes the socket at once. A peer that is still sending then gets a reset instead of the close frame.
        """
        if not self.close_sent:
            close = self.conn.close_sent or Close(CloseCode.BAD_FRAME, "")
            self.queue.put_nowait({"type": "websocket.disconnect", "code": close.code, "reason": close.reason})
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
            self.transport.resume_reading()
            self._linger()
        if self.close_timer is not None:
            self.close_timer.cancel()
        # uvicorn closes the socket when the application returns, unless this timer runs.
        self.close_timer = self.loop.call_later(QUIET_S, self.transport.close)

    def keepalive_timeout(self) -> None:
        """Disconnect a peer that answers no ping, even when its write buffer does not drain."""
        super().keepalive_timeout()
        self._linger()

    def _linger(self) -> None:
        """Abort the transport after `LINGER_S`. Its own close would wait without a limit for the peer to read."""
        self.loop.call_later(LINGER_S, self.transport.abort)
