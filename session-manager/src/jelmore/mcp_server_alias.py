"""`MCP_SERVER`, the variable of earlier systems: one remote MCP server for every session. Deprecated.

Its meaning was written down nowhere; this is the obvious one. New deployments register a route, which can have a
credential.
"""

import re
from typing import Final
from urllib.parse import urlsplit

from jelmore_protocol.gateway import Route

DEFAULT_NAME: Final = "default"
_NAMED: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})=(.*)", re.DOTALL)
_MEANING: Final = "MCP_SERVER: is one http(s) URL of an MCP server over streamable HTTP, or NAME=URL"


def route_of(text: str) -> Route:
    """Return the route that the variable stands for. Raises ValueError that says what the variable may be.

    The operator has written it, so the server may be in a private network.
    """
    named = _NAMED.fullmatch(text)
    name, url = (named[1], named[2]) if named else (DEFAULT_NAME, text)
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        usable = False
    if not usable or len(url) > 2000 or any(each.isspace() or each in ",;" for each in url):  # noqa: PLR2004
        raise ValueError(f"{_MEANING}; register others with PUT /api/v1/admin/routes/mcp/NAME")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(f"{_MEANING}, without a user, a query or a fragment; a route can have a credential")
    return Route(name=f"mcp/{name}", url=url, private=True)
