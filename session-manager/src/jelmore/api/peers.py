"""Where a request comes from.

A manager listens on a unix socket that only its own user may open. Caddy connects there for everybody, and says in
`X-Forwarded-For` for whom; it replaces what a client sent under that name. A request without the header is one of a
program of this machine, such as the health check of the container.
"""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

_MAX_ADDRESS: Final = 128
_FORWARDED: Final = "x-forwarded-for"


def client_address(scope: Scope) -> str:
    """Return the address of the client; empty for a program of this machine on the manager's own socket.

    `X-Forwarded-For` counts only on a unix socket: there Caddy has written it. Its last address is the one that Caddy
    saw.
    """
    peer = scope.get("client")
    if peer:
        return str(peer[0])
    forwarded = Headers(scope=scope).getlist(_FORWARDED)
    return forwarded[-1].rpartition(",")[2].strip()[:_MAX_ADDRESS] if forwarded else ""


def is_local(scope: Scope) -> bool:
    """Return whether a program of this machine asks on the manager's own socket, and not through Caddy."""
    return not scope.get("client") and _FORWARDED not in Headers(scope=scope)
