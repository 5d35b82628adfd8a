"""What servers publish about their authorization, and what of it is believed (RFC 9728, 8414, 9207, 7591). Pure.

All of it is the word of a server that an admin registered, and of the authorization server that this one names. So a
document must be about the server that was asked, endpoints get no plain HTTP, and PKCE is not negotiable.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from jelmore_gateway.oauth.requests import OAuthError
from jelmore_protocol.gateway import Route

MAX_SCOPES: Final = 50
_MAX_URL: Final = 2000
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")
_PARAMETER: Final = re.compile(r'([a-zA-Z_]+)\s*=\s*"([^"\\]*)"')
_SCOPE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")
_OFFLINE: Final = "offline_access"


@dataclass(frozen=True, slots=True)
class Protected:
    """A protected resource: what its tokens are for, who gives them, and which scopes it names."""

    resource: str
    issuer: str
    scopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """An authorization server, by its metadata. Empty URLs are endpoints that it does not have."""

    issuer: str
    authorization_url: str
    token_url: str
    registration_url: str = ""
    revocation_url: str = ""
    authentications: tuple[str, ...] = ("client_secret_basic",)
    scopes: tuple[str, ...] = ()
    names_itself: bool = False  # it says who it is with each code (RFC 9207)
    private: bool = False  # what is asked of it may lead to private addresses


def challenge(header: str) -> Mapping[str, str]:
    """Return the parameters of a `WWW-Authenticate: Bearer` header, empty for another one."""
    return dict(_PARAMETER.findall(header[:8000])) if header.strip().lower().startswith("bearer") else {}


def resource_places(route: Route, named: str) -> list[str]:
    """Return where the metadata of a route's server may be, the best first. `named` is what the server said.

    It may name a place of its own origin only: the document decides where a person is sent.
    """
    parts = urlsplit(route.url)
    root = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    places = [named] if named and _origin(named) == root and len(named) <= _MAX_URL else []
    places += [f"{root}/.well-known/oauth-protected-resource{path}", f"{root}/.well-known/oauth-protected-resource"]
    return list(dict.fromkeys(places))


def protected_resource(route: Route, found: Mapping[str, Any] | None, scope: str) -> Protected:
    """Return what a server says of itself. Without a document, its origin is taken for its authorization server.

    Raises OAuthError for a document about another resource.
    """
    scopes = _scopes(scope.split())
    if found is None:
        return Protected(route.url, _origin(route.url), scopes)
    resource = found.get("resource")
    if not isinstance(resource, str) or not _covers(resource, route.url):
        raise OAuthError("bad_metadata", "the server's metadata is about another resource than its URL")
    servers = found.get("authorization_servers")
    issuer = servers[0] if isinstance(servers, list) and servers else ""
    if not isinstance(issuer, str) or not is_printable(issuer):
        raise OAuthError("bad_metadata", "the server's metadata names no authorization server")
    return Protected(resource, issuer, scopes or _scopes(found.get("scopes_supported")))


def server_places(issuer: str) -> list[str]:
    """Return where the metadata of an authorization server may be, the best first (RFC 8414, section 3)."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    return list(
        dict.fromkeys(
            [
                f"{root}/.well-known/oauth-authorization-server{path}",
                f"{root}/.well-known/openid-configuration{path}",
                f"{root}{path}/.well-known/openid-configuration",
            ]
        )
    )


def authorization_server(issuer: str, found: Mapping[str, Any], *, private: bool) -> AuthorizationServer:
    """Return an authorization server by its metadata. Raises OAuthError for one that is not used.

    One that may be private may be so on its issuer's host only: with endpoints elsewhere, all of them must be public.
    """
    if str(found.get("issuer", "")).rstrip("/") != issuer.rstrip("/"):
        raise OAuthError("bad_metadata", "the authorization server's metadata is of another issuer")
    methods = found.get("code_challenge_methods_supported")
    if not isinstance(methods, list) or "S256" not in methods:
        raise OAuthError("no_pkce", "the authorization server does not offer PKCE with S256")
    types = found.get("response_types_supported", ["code"])
    if not isinstance(types, list) or "code" not in types:
        raise OAuthError("bad_metadata", "the authorization server does not offer the authorization code grant")
    host = urlsplit(issuer).hostname
    urls = {name: _endpoint(found, f"{name}_endpoint", private_host=host if private else None) for name in _ENDPOINTS}
    asked = [url for name, url in urls.items() if url and name != "authorization"]  # there, only browsers go
    private = private and all(urlsplit(url).hostname == host for url in asked)
    if not private and any(urlsplit(url).scheme != "https" for url in asked):
        raise OAuthError("bad_metadata", "the authorization server has endpoints on other hosts, and some no https URL")
    if not urls["authorization"] or not urls["token"]:
        raise OAuthError("bad_metadata", "the authorization server names no authorization or no token endpoint")
    ways = found.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    return AuthorizationServer(
        issuer=str(found["issuer"]),
        authorization_url=urls["authorization"],
        token_url=urls["token"],
        registration_url=urls["registration"],
        revocation_url=urls["revocation"],
        authentications=tuple(each for each in ways if isinstance(each, str)) if isinstance(ways, list) else (),
        scopes=_scopes(found.get("scopes_supported")),
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        private=private,
    )


_ENDPOINTS: Final = ("authorization", "token", "registration", "revocation")


def wanted_scopes(route: Route, protected: Protected, server: AuthorizationServer) -> tuple[str, ...]:
    """Return the scopes to ask for: the admin's, else the server's; and that a refresh token is given."""
    chosen = tuple(route.oauth.scopes) if route.oauth and route.oauth.scopes else protected.scopes
    return (*chosen, _OFFLINE) if chosen and _OFFLINE in server.scopes and _OFFLINE not in chosen else chosen


def registration(redirect_uri: str, server: AuthorizationServer, scopes: Sequence[str]) -> dict[str, Any]:
    """Return the body of a dynamic registration: a public client where the server takes one."""
    ways = [each for each in ("none", "client_secret_basic", "client_secret_post") if each in server.authentications]
    body: dict[str, Any] = {
        "client_name": "Jelmore",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": ways[0] if ways else "client_secret_basic",
    }
    return body | ({"scope": " ".join(scopes)} if scopes else {})


def registered(found: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return client id, secret and how it is sent, as a registration gave them. Raises OAuthError."""
    client_id, secret = found.get("client_id"), found.get("client_secret") or ""
    if not isinstance(client_id, str) or not client_id or not isinstance(secret, str):
        raise OAuthError("bad_response", "the authorization server's registration gives no client id")
    return client_id, secret, "post" if found.get("token_endpoint_auth_method") == "client_secret_post" else "basic"


def _endpoint(found: Mapping[str, Any], name: str, *, private_host: str | None) -> str:
    url = found.get(name)
    if url is None:
        return ""
    parts = urlsplit(url) if isinstance(url, str) and len(url) <= _MAX_URL else urlsplit("")
    fine = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname == private_host)
    if not fine or not parts.hostname or parts.username is not None or parts.fragment or not is_printable(url):
        raise OAuthError("bad_metadata", f"the authorization server's {name} is no https URL")
    return str(url)


def is_printable(url: str) -> bool:
    """Return whether a URL has only characters of one: it is shown in terminals."""
    return _PRINTABLE.fullmatch(url) is not None


def _covers(resource: str, url: str) -> bool:
    """Return whether a resource is the URL itself, or a part of its path that ends with a segment."""
    if _origin(resource) != _origin(url):
        return False
    outer, inner = urlsplit(resource).path.rstrip("/"), urlsplit(url).path.rstrip("/")
    return inner == outer or inner.startswith(outer + "/")


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc}".lower()


def _scopes(given: object) -> tuple[str, ...]:
    if not isinstance(given, list):
        return ()
    return tuple(each for each in given if isinstance(each, str) and _SCOPE.fullmatch(each))[:MAX_SCOPES]
