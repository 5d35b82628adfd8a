"""Keeps file descriptors in reserve: near the limit of open files, new connections are refused with 503.

Without a reserve, peers that open many connections take the descriptors that the process needs to serve anybody: for
its database, its journal or its runners.
"""

import asyncio
import json
from typing import Final

import h11
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from jelmore_protocol.descriptors import is_scarce

RETRY_AFTER_S: Final = 1
_BODY: Final = json.dumps(
    {
        "type": "about:blank",
        "title": "Too many open connections",
        "status": 503,
        "code": "too_many_connections",
        "message": "too many connections are open; try again later",
    }
).encode()
_HEADERS: Final = [
    (b"content-type", b"application/problem+json"),
    (b"content-length", str(len(_BODY)).encode()),
    (b"retry-after", str(RETRY_AFTER_S).encode()),
    (b"connection", b"close"),
]


class ReservingProtocol(H11Protocol):
    """uvicorn's HTTP protocol that refuses connections when file descriptors are scarce.

    The request is read first, so that a proxy gets the response. When half of the reserve is used too, the connection
    is closed at once.
    """

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Serve the connection, refuse its request, or close it."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn names the narrower type
        if not is_scarce(transport):
            return
        self.app = _refuse
        if is_scarce(transport, 0.5):
            self._refuse_at_once()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """Upgrade the connection, unless it is refused."""
        if self.app is _refuse:
            self._refuse_at_once()
        else:
            super().handle_websocket_upgrade(event)

    def _refuse_at_once(self) -> None:
        lines = [b"%s: %s\r\n" % header for header in _HEADERS]
        self.transport.write(b"HTTP/1.1 503 Service Unavailable\r\n" + b"".join(lines) + b"\r\n" + _BODY)
        self.transport.close()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - the signature of ASGI
    await send({"type": "http.response.start", "status": 503, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
