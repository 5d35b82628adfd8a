"""The cookies of browsers, and which requests may use one."""

from typing import Final
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

LOGIN_COOKIE: Final = "jelmore_login"
SECURE_LOGIN_COOKIE: Final = "__Host-jelmore_login"
"""Its name under https. Browsers take a cookie of this name from this very host only, and send it there only.

So no other host of the domain can sign a browser in as somebody else. Under https the plain name counts for nothing.
"""

LOGIN_COOKIES: Final = frozenset({LOGIN_COOKIE, SECURE_LOGIN_COOKIE})
GUEST_COOKIE: Final = "jelmore_guest"
"""The credential of an invited person in a browser. Its path is that of the one session."""

GUEST: Final = "guest"
BROWSER_HEADER: Final = "x-jelmore-browser"
"""A page of another site cannot send this header: its browser asks first (CORS), and this server does not allow it.

`guest` asks for the rights of an accepted invite and no others, whoever is signed in.
"""

_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})


def is_secure(public_url: str) -> bool:
    """Return whether browsers reach this server under https."""
    return public_url.startswith("https:")


def login_name(public_url: str) -> str:
    """Return the name of the cookie of a login."""
    return SECURE_LOGIN_COOKIE if is_secure(public_url) else LOGIN_COOKIE


def cookie_of(connection: HTTPConnection, name: str) -> str | None:
    """Return a cookie; None when there is none, or when another site may have caused the request."""
    token = connection.cookies.get(name)
    safe = connection.scope.get("method", "GET") in _SAFE_METHODS
    return token if token and _same_site(connection) and (safe or BROWSER_HEADER in connection.headers) else None


def from_own_page(connection: HTTPConnection) -> bool:
    """Return whether a page of this server sent the request."""
    return _same_site(connection) and BROWSER_HEADER in connection.headers


def _same_site(connection: HTTPConnection) -> bool:
    origin = connection.headers.get("origin")
    return origin is None or urlsplit(origin).netloc == connection.headers.get("host")
