"""Sockets and uvicorn, arranged so that one slow or dead peer costs one bounded buffer for a bounded time."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from jelmore_protocol import MAX_FRAME_BYTES
from jelmore_runner.settings import Address

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 45.0
LINGER_S: Final = 5.0
UNKNOWN_PEER_BYTES: Final = 16 * 1024
KNOWN_PEER_BYTES: Final = 8 * 1024 * 1024
"""The largest frame a client may send once it may write: an input of 1 MiB, however its JSON is escaped."""

CONNECTION_KEY: Final = "jelmore.connection"


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket, which waits for room before each send, with an end that does not wait for the peer.

    uvicorn's own close goes through the same wait, and its transport then waits for ever for a peer that reads nothing.
    """

    async def run_asgi(self) -> None:
        """Let the application reach its connection; when it is done, end also with a peer that reads nothing."""
        self.scope["state"][CONNECTION_KEY] = self
        self.limit_frames(UNKNOWN_PEER_BYTES)
        try:
            await super().run_asgi()
        finally:
            self.loop.call_later(LINGER_S, self.transport.abort)

    def limit_frames(self, most_bytes: int) -> None:
        """Bound the frames of the peer from here on."""
        self.conn.max_message_size = most_bytes

    def handle_ping(self) -> None:
        """Answer with a pong; drop it while the peer takes nothing, or its pings would fill this process."""
        if self.close_sent or not self.writable.is_set():  # being cut off sets `writable`, room or not
            self.conn.data_to_send()
        else:
            super().handle_ping()

    def cut_off(self, code: int, reason: str) -> None:
        """Close now: a peer that takes what is buffered within `LINGER_S` still learns why."""
        if not self.close_sent and not self.transport.is_closing():
            self.conn.send_close(code, reason)
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.close_sent = True
        self.writable.set()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """End a dead peer, also one whose buffer never drains."""
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to the process's owner."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def make_server(app: ASGIApp) -> Server:
    """Return a server for `app`; run it with `serve(sockets=[…])`."""
    config = uvicorn.Config(
        app,
        ws=WebSocketProtocol,
        http="h11",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=MAX_FRAME_BYTES,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        ws_per_message_deflate=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    return Server(config)


async def stop_server(server: Server, task: "asyncio.Task[Any]", address: Address) -> None:
    """Stop accepting, give open requests a moment, remove the socket file."""
    server.should_exit = True
    await asyncio.wait({task}, timeout=6)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if address.path is not None:
        with contextlib.suppress(OSError):
            os.unlink(address.path)  # noqa: PTH108
