"""A listener that serves HTTP/1.1 to sandboxes or to managers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

from jelmore_gateway.refusals import unavailable
from jelmore_protocol.descriptors import is_scarce

SOCKET_MODE: Final = 0o666
"""The runner in a container has another uid. Who may reach the path is limited by the folders above it."""

_HEAD_BYTES: Final = 64 * 1024
_IDLE_S: Final = 30.0
"""How long a connection may stay open between two requests, or before the first is complete."""

MAX_CONNECTIONS: Final = 256
"""Of one listener, idle ones included. A sandbox makes 64 calls at once at most, and its agent reaches the socket."""

type Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class _Connection(web.RequestHandler):
    """A connection that is refused when its listener has too many, or when file descriptors are scarce.

    Without that, one sandbox could take the descriptors that the calls of all others need.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection, or refuse it at once."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream server
        if is_scarce(transport) or len(self._manager.connections) >= MAX_CONNECTIONS:  # type: ignore[union-attr]  # set until it is lost
            transport.write(_refusal())
            transport.close()
        else:
            super().connection_made(transport)


class _Server(web.Server):
    """Makes connections that may be refused."""

    def __call__(self) -> web.RequestHandler:
        """Return the protocol of a new connection."""
        return _Connection(self, loop=self._loop, **self._kwargs)


def _refusal() -> bytes:
    refusal = unavailable("too many connections are open").response()
    assert isinstance(refusal.body, bytes)  # noqa: S101
    head = f"HTTP/1.1 {refusal.status} Service Unavailable\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(refusal.body)}\r\nConnection: close\r\n\r\n".encode() + refusal.body


class Listener:
    """One listener that serves HTTP. A request whose client leaves is cancelled."""

    def __init__(self, handler: Handler) -> None:
        self._http = _Server(
            handler,
            handler_cancellation=True,
            auto_decompress=False,
            access_log=None,
            max_line_size=_HEAD_BYTES,
            max_field_size=_HEAD_BYTES,
            lingering_time=1.0,
            keepalive_timeout=_IDLE_S,
        )
        self._server: asyncio.Server | None = None

    async def open_path(self, path: Path, mode: int = SOCKET_MODE) -> None:
        """Listen on a unix socket in place of any earlier one. Raises OSError."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(self._http, str(path))
        path.chmod(mode)

    async def open_port(self, host: str, port: int) -> None:
        """Listen on a TCP port. Raises OSError."""
        self._server = await asyncio.get_running_loop().create_server(self._http, host, port)

    def close(self) -> None:
        """Stop listening and close every connection, at once. May run twice."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for connection in self._http.connections:
            connection.force_close()
