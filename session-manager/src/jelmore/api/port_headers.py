"""What passes between a browser and a server in a sandbox: headers of one connection and of ours do not. Pure."""

import base64
import json
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from jelmore.api.cookies import LOGIN_COOKIES
from jelmore.api.port_names import PortName, PortNames
from jelmore.control.access.api_keys import KEY_PREFIX
from jelmore.control.people import PARTICIPANT_PREFIX
from jelmore.control.tickets import TICKET_PREFIX
from jelmore_protocol.tokens import ISSUER

COOKIE: Final = "jelmore_port"
SECURE_COOKIE: Final = "__Host-jelmore_port"
"""With TLS. A browser takes this name from the host itself only, not from a page of another port."""

PARAMETER: Final = "jelmore_token"
"""The query parameter of a link. It is exchanged for the cookie and then gone from the URL."""

MAX_COOKIES: Final = 4
_OURS: Final = LOGIN_COOKIES | {COOKIE, SECURE_COOKIE}
_HOP: Final = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OF_REQUEST: Final = frozenset({"host", "cookie", "expect", "forwarded", "x-real-ip", "x-jelmore-session"})
_OF_HANDSHAKE: Final = frozenset(
    {"sec-websocket-key", "sec-websocket-version", "sec-websocket-extensions", "sec-websocket-protocol"}
)
_OF_RESPONSE: Final = frozenset(
    {"set-cookie", "alt-svc", "clear-site-data", "cross-origin-resource-policy", "date", "x-request-id"}
)
"""`clear-site-data` would take our cookie too, and cookies of the whole domain."""

_WITH_URLS: Final = frozenset({"origin", "referer"})
_OUTWARD: Final = frozenset({"location", "access-control-allow-origin"})
_DEFAULTS: Final = {"referrer-policy": "same-origin", "x-robots-tag": "noindex"}
_KEPT_APART: Final = (
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"frame-ancestors 'self'"),  # beside the server's own: a browser obeys both
)
"""What `is_foreign` refuses, for browsers that do not say who asks."""

type Raw = Sequence[tuple[bytes, bytes]]


def offered_grants(headers: Raw) -> list[str]:
    """Return the values of our cookie. Another page of the site can add one, so any of them may be the right one."""
    found = [value for name, value in _cookies(headers) if name in {COOKIE, SECURE_COOKIE}]
    return found[:MAX_COOKIES]


def split_token(query: bytes) -> tuple[str | None, str]:
    """Return the token in a query string, and the query without it, otherwise unchanged."""
    kept, token = [], None
    for part in query.decode("latin-1").split("&"):
        name, value = next(iter(parse_qsl(part, keep_blank_values=True)), ("", ""))
        if name == PARAMETER:
            token = value
        else:
            kept.append(part)
    return token, "&".join(kept)


def request_headers(
    headers: Raw, names: PortNames, name: PortName, client: str, *, handshake: bool = False
) -> list[tuple[str, str]]:
    """Return the headers of a request for the server in the sandbox, which sees itself addressed as localhost."""
    left_out = _left_out(headers) | _OF_REQUEST | (_OF_HANDSHAKE if handshake else frozenset())
    public = next((_text(value) for found, value in headers if found == b"host"), "")
    result = [("Host", f"localhost:{name.port}")]
    for raw_name, raw_value in headers:
        found, value = _text(raw_name).lower(), _text(raw_value)
        if found in left_out or found.startswith("x-forwarded-"):
            continue
        if found in {"authorization", "x-api-key"} and is_ours(value):
            continue
        result.append((found, names.inward(value, name.session_id) if found in _WITH_URLS else value))
    cookies = "; ".join(f"{each}={value}" for each, value in _cookies(headers) if each not in _OURS)
    if cookies:
        result.append(("cookie", cookies))
    forwarded = {"x-forwarded-for": client, "x-forwarded-host": public, "x-forwarded-proto": names.scheme}
    return result + [(each, value) for each, value in forwarded.items() if value]


def response_headers(headers: Raw, names: PortNames, name: PortName) -> list[tuple[bytes, bytes]]:
    """Return the headers of a response for the browser."""
    left_out = _left_out(headers) | _OF_RESPONSE
    result = []
    for raw_name, raw_value in headers:
        found = _text(raw_name).lower()
        if found == "set-cookie":
            cookie = _own_cookie(_text(raw_value))
            if cookie is not None:
                result.append((b"set-cookie", _bytes(cookie)))
        elif found in _OUTWARD:
            result.append((_bytes(found), _bytes(names.outward(_text(raw_value), name.session_id))))
        elif found not in left_out:
            result.append((_bytes(found), raw_value))
    present = {found for found, _ in result}
    added = [(_bytes(k), _bytes(v)) for k, v in _DEFAULTS.items() if _bytes(k) not in present]
    return [*result, *added, *_KEPT_APART]


def is_ours(value: str) -> bool:
    """Return whether the value of a header holds a credential of Jelmore, which no server in a sandbox may see."""
    credential = value.rpartition(" ")[2]
    if credential.startswith((KEY_PREFIX, TICKET_PREFIX, PARTICIPANT_PREFIX)):
        return True
    parts = credential.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - a JWT
        return False
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return False
    return isinstance(claims, dict) and claims.get("iss") == ISSUER


def is_foreign(headers: Raw, names: PortNames, name: PortName, *, handshake: bool) -> bool:
    """Return whether a page of another session or site has caused a request that its user did not navigate to.

    Names below one host are one site to a browser, so `SameSite` does not keep the pages of sessions apart.
    """
    given = {_text(found).lower(): _text(value) for found, value in headers}
    origin = given.get("origin")
    # Forms of a page with `Referrer-Policy: no-referrer`. Sandboxed frames send `null` too, but as another site.
    hidden = origin == "null" and given.get("sec-fetch-site") == "same-origin"
    if origin is not None and not hidden:
        found = names.of_origin(origin)
        return found is None or found.session_id != name.session_id
    if given.get("sec-fetch-site") not in {"same-site", "cross-site"}:
        return False
    return handshake or given.get("sec-fetch-mode") != "navigate" or given.get("sec-fetch-dest") != "document"


def _cookies(headers: Raw) -> list[tuple[str, str]]:
    pairs = [part.strip() for found, value in headers if found.lower() == b"cookie" for part in _text(value).split(";")]
    return [(pair.partition("=")[0].strip(), pair.partition("=")[2]) for pair in pairs if pair]


def _own_cookie(cookie: str) -> str | None:
    """Return a cookie for this host only; None for one with a name of ours."""
    pair, *attributes = cookie.split(";")
    if pair.partition("=")[0].strip() in _OURS:
        return None
    kept = [each for each in attributes if each.partition("=")[0].strip().lower() != "domain"]
    return ";".join([pair, *kept])


def _left_out(headers: Raw) -> frozenset[str]:
    """Return the headers of the connection; with chunks, a length too: two bounds of one body are one too many."""
    given = [_text(value) for found, value in headers if found.lower() == b"connection"]
    chunked = any(found.lower() == b"transfer-encoding" for found, _ in headers)
    named = {word.strip().lower() for value in given for word in value.split(",")}
    return _HOP | named | ({"content-length"} if chunked else set())


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _bytes(text: str) -> bytes:
    return text.encode()
