"""Refuses requests that are addressed to a name which is not this installation's.

A page of a stranger can let its own name lead to the address of this machine (DNS rebinding). To the browser it then
is the page's own site, so the page may read every answer, also of a manager that listens on loopback only. The name
that the browser sends in `Host` is the stranger's, and gives it away.
"""

import ipaddress
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Final

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from jelmore.api import problems
from jelmore.api.auth import credential
from jelmore.api.cookies import LOGIN_COOKIES
from jelmore.api.peers import is_local
from jelmore.api.system import PROBE_PATHS
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.websocket_server import offered_credential

_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^:\[\]@/\s]+))(?::[0-9]*)?")
_LOCALHOST: Final = "localhost"
_MAX_SHOWN: Final = 128


class AllowedHosts:
    """The names of this installation. `*.example.com` stands for every name below example.com, `*` for every name.

    `localhost` and every IP address are always allowed: a stranger's page cannot have them as its name.
    """

    def __init__(self, names: Iterable[str]) -> None:
        found = {name.lower().rstrip(".") for name in names}
        self._every = "*" in found
        self._names = frozenset({_LOCALHOST, *found})
        self._endings = (f".{_LOCALHOST}", *(name[1:] for name in found if name.startswith("*.")))

    def allows(self, header: str) -> bool:
        """Return whether a `Host` header, with or without a port, names this installation."""
        name = host_name(header)
        if name is None:
            return False
        return self._every or name in self._names or name.endswith(self._endings) or _is_address(name)


def host_name(header: str) -> str | None:
    """Return the host of a `Host` header in lower case, without port, brackets and final dot; None when it has none."""
    found = _HOST.fullmatch(header.strip().lower())
    return (found[1] or found[2]).removesuffix(".") or None if found else None


def may_enter(connection: HTTPConnection, hosts: AllowedHosts) -> bool:
    """Return whether a request is served under the name that it is addressed to.

    A key or token that the client itself has put into the request is no browser's doing, so it is served under any
    name. A browser adds by itself only the cookie of a login, and, to every WebSocket of a page, `Origin`.
    """
    if is_local(connection.scope) or hosts.allows(connection.headers.get("host", "")):
        return True
    if credential(connection) is not None:
        return True
    if not LOGIN_COOKIES.isdisjoint(connection.cookies):
        return False
    if connection.scope["path"] in PROBE_PATHS or "ticket" in connection.query_params:
        return True
    if isinstance(connection, WebSocket):
        return "origin" not in connection.headers or offered_credential(connection) is not None
    return False


class HostGate:
    """Refuses other names with 421, requests and WebSockets alike."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self.app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        websocket = WebSocket(scope, receive, send) if scope["type"] == "websocket" else None
        connection = websocket or HTTPConnection(scope)
        if may_enter(connection, self._hosts):
            await self.app(scope, receive, send)
        elif websocket is None or "websocket.http.response" in scope.get("extensions", {}):
            await problems.respond(_problem(connection))(scope, receive, send)
        else:
            await websocket.close(CloseCode.FORBIDDEN)


def _problem(connection: HTTPConnection) -> problems.Problem:
    name = host_name(connection.headers.get("host", "")) or ""
    detail = (
        f"“{name[:_MAX_SHOWN]}” is not a name of this installation: use the address in JELMORE_PUBLIC_URL or an IP "
        "address, or add the name to JELMORE_ALLOWED_HOSTS"
    )
    return problems.make(connection, HTTPStatus.MISDIRECTED_REQUEST, "unknown_host", "Unknown host", detail)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
