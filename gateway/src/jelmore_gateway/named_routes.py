"""Requests for a registered route: which server they lead to and with which headers. Pure."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urljoin, urlsplit

from jelmore_gateway.model_requests import HOP_BY_HOP, Headers
from jelmore_gateway.refusals import RefusedError, forbidden
from jelmore_protocol.gateway import GatewayConfig, Route, SandboxEntry, Scope, SealedCredential
from jelmore_protocol.json_bounds import has_too_many_values
from jelmore_protocol.tracing import CONTEXT_HEADERS

KINDS: Final = ("mcp", "git", "pkg")

_NOT_FORWARDED: Final = (
    HOP_BY_HOP
    | CONTEXT_HEADERS
    | {
        "authorization",
        "cookie",
        "forwarded",
        "host",
        "origin",
        "proxy-authorization",
        "referer",
        "via",
        "x-api-key",
        "x-real-ip",
    }
)
_NOT_FORWARDED_PREFIXES: Final = ("x-jelmore-", "x-forwarded-")


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes."""

    route: Route
    url: str  # encoded


def route_name(target: str) -> str | None:
    """Return the name of the route that a request's target is for, None when it is for none."""
    parts = target.partition("?")[0].split("/", 3)
    return f"{parts[1]}/{parts[2]}" if len(parts) > 2 and not parts[0] and parts[1] in KINDS else None  # noqa: PLR2004


def find_target(target: str, config: GatewayConfig, entry: SandboxEntry) -> Target:
    """Return where a request goes. Raises RefusedError when there is no such route for this sandbox."""
    name = route_name(target)
    route = next((each for each in config.routes if each.name == name), None)
    if route is None or not route.serves(entry.user_id, entry.profile):
        raise RefusedError(404, "not_found_error", f"there is no route {name}")
    path, mark, query = target.partition("?")
    rest = path[len(f"/{route.name}") :]
    if not _is_plain(rest):
        raise forbidden("a path on a route has no dots, backslashes or control characters for segments")
    return Target(route, route.url.rstrip("/") + rest + mark + query if rest else route.url + mark + query)


def find_credential(name: str, entry: SandboxEntry, credentials: Sequence[SealedCredential]) -> SealedCredential | None:
    """Return the credential of that name for a sandbox: its session's, else its user's, else the deployment's."""
    owners = ((Scope.SESSION, entry.session_id), (Scope.USER, entry.user_id), (Scope.DEPLOYMENT, ""))
    for scope, owner in owners:
        for each in credentials:
            if (each.name, each.scope, each.owner) == (name, scope, owner) and (owner or scope is Scope.DEPLOYMENT):
                return each
    return None


def route_headers(incoming: Iterable[tuple[str, str]], route: Route, credential: str | None) -> Headers:
    """Return the headers that go to the route's server, with its credential in place of the sandbox's own."""
    own = route.header.lower()
    passed = [
        (name, value)
        for name, value in incoming
        if (lower := name.lower()) not in _NOT_FORWARDED
        and lower != own
        and not lower.startswith(_NOT_FORWARDED_PREFIXES)
    ]
    return passed if credential is None else [*passed, (route.header, route.prefix + credential)]


def location_for(location: str, target: Target) -> str:
    """Return a redirect's location as a path on the route. Raises RefusedError when it leads away from the route."""
    there = urlsplit(urljoin(target.url, location))
    base = urlsplit(target.route.url)
    root = base.path.rstrip("/")
    if (there.scheme, there.netloc) != (base.scheme, base.netloc) or not (there.path + "/").startswith(root + "/"):
        raise RefusedError(502, "api_error", f"the server of {target.route.name} redirects to another place")
    return f"/{target.route.name}{there.path[len(root) :]}" + (f"?{there.query}" if there.query else "")


def mcp_call(body: bytes) -> tuple[str, str]:
    """Return the method and the tool of a JSON-RPC message, of a batch those of its first. Empty when unknown.

    What a sandbox sends is untrusted: a message of very many values, or one nested very deeply, is not read.
    """
    if has_too_many_values(body.decode("utf-8", "replace")):
        return "", ""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if isinstance(message, list):
        message = message[0] if message else None
    if not isinstance(message, dict):
        return "", ""
    method, params = message.get("method"), message.get("params")
    tool = params.get("name") if isinstance(params, dict) and method == "tools/call" else None
    return (str(method)[:100] if isinstance(method, str) else ""), (str(tool)[:200] if isinstance(tool, str) else "")


def _is_plain(rest: str) -> bool:
    """Return whether a path cannot climb out of the route's own, however the server decodes it."""
    once = unquote(rest)
    for text in (once, unquote(once)):
        if "\\" in text or any(ord(each) < 32 or ord(each) == 127 for each in text):  # noqa: PLR2004 - control characters
            return False
        if any(part in {".", ".."} for part in text.split("/")):
            return False
    return True
