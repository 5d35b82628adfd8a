"""The served API of a world: clients of it, and what it holds open."""

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from websockets.asyncio.client import ClientConnection, unix_connect

from jelmore.api.serving import HttpProtocol
from jelmore.ports import Role
from jelmore_protocol.websocket_server import WebSocketProtocol


class Server(uvicorn.Server):
    """Leaves signals to the tests."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Served:
    """A manager's API on a socket in a folder, with a key for each role."""

    _folder: Path
    server: Server
    keys: Mapping[Role, str]

    def client(self, key: str | None = None, **headers: str) -> httpx.AsyncClient:
        """Return a client of the API; an admin's unless `key` says otherwise, a stranger's for an empty one."""
        key = self.keys[Role.ADMIN] if key is None else key
        transport = httpx.AsyncHTTPTransport(uds=self.socket_path)
        if key:
            headers["X-API-Key"] = key
        return httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60)

    def connect(self, path: str, **more: Any) -> AbstractAsyncContextManager[ClientConnection]:
        """Return a WebSocket to open with `async with`; nobody's, unless the headers say so."""
        return unix_connect(self.socket_path, uri=f"ws://test{path}", open_timeout=10, **more)

    @property
    def socket_path(self) -> str:
        """Where the API listens."""
        return str(self._folder / "api.sock")

    def open_requests(self) -> list[HttpProtocol]:
        """Return the manager's ends of the connections that speak HTTP."""
        return [each for each in self.server.server_state.connections if isinstance(each, HttpProtocol)]

    def open_sockets(self) -> list[WebSocketProtocol]:
        """Return the manager's ends of the WebSockets that are open."""
        return [each for each in self.server.server_state.connections if isinstance(each, WebSocketProtocol)]
