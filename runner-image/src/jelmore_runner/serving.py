"""Configures uvicorn so that a slow or dead peer costs one bounded buffer for a bounded time."""

import asyncio
import contextlib
import os
from collections.abc import Iterator
from typing import Any, Final

from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.server import Server as UvicornServer

from jelmore_protocol.websocket_server import WRITER_FRAME_BYTES, ReservingProtocol, WebSocketProtocol
from jelmore_runner.settings import Address

PING_EVERY_S: Final = 20.0
PONG_WITHIN_S: Final = 45.0


class Server(UvicornServer):
    """A uvicorn server without signal handling: `process` handles signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield


def make_server(app: ASGIApp) -> Server:
    """Return a server for `app`; run it with `serve(sockets=[…])`."""
    config = Config(
        app,
        ws=WebSocketProtocol,
        http=ReservingProtocol,
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ws_max_size=WRITER_FRAME_BYTES,
        ws_ping_interval=PING_EVERY_S,
        ws_ping_timeout=PONG_WITHIN_S,
        ws_per_message_deflate=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    return Server(config)


async def stop_server(server: Server, task: "asyncio.Task[Any]", address: Address) -> None:
    """Stop accepting, wait up to 6 s for open requests, and remove the socket file. May run twice."""
    server.should_exit = True
    await asyncio.wait({task}, timeout=6)
    if not task.done():
        task.cancel()
        await asyncio.wait({task})
    if address.path is not None:
        with contextlib.suppress(OSError):
            os.unlink(address.path)  # noqa: PTH108
