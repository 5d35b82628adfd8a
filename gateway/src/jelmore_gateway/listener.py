"""A listener that serves HTTP/1.1 to sandboxes or to managers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from aiohttp import web

SOCKET_MODE: Final = 0o666
"""The runner in a container has another uid. Who may reach the path is limited by the folders above it."""

_HEAD_BYTES: Final = 64 * 1024
_IDLE_S: Final = 30.0
"""How long a connection may stay open between two requests, or before the first is complete."""

type Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Listener:
    """One listener that serves HTTP. A request whose client leaves is cancelled."""

    def __init__(self, handler: Handler) -> None:
        self._http = web.Server(
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
