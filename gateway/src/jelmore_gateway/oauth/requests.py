"""What is sent to a token URL and what its answer means (RFC 6749, sections 2.3.1, 4.1.3, 4.4, 5 and 6)."""

import base64
import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import quote_plus

import aiohttp

from jelmore_protocol.oauth import OAuthClient

MAX_TOKEN_CHARACTERS: Final = 16 * 1024

_REASONS: Final = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client"}
    | {"unsupported_grant_type", "invalid_scope", "invalid_target"}
)
_IN_A_HEADER: Final = re.compile(r"[\x21-\x7e]+")
_LONGEST_S: Final = 10 * 365 * 86_400.0


class OAuthError(Exception):
    """There is no access token now. `reason` is a code, the text is for people; neither holds a secret."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What a token URL gave. `refresh` is empty unless it is a new one, `lifetime_s` None when it is not given."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)
    lifetime_s: float | None


def token_request(client: OAuthClient, refresh_token: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the form of a token request."""
    form = {"grant_type": client.grant}
    if client.grant == "refresh_token":
        form["refresh_token"] = refresh_token
    if client.scopes:
        form["scope"] = " ".join(client.scopes)
    if client.resource:
        form["resource"] = client.resource
    return _authenticated(client, form)


def code_request(
    client: OAuthClient, code: str, redirect_uri: str, verifier: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the form that exchange a code (RFC 6749, section 4.1.3; RFC 7636; RFC 8707)."""
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": redirect_uri, "code_verifier": verifier}
    return _authenticated(client, form | ({"resource": client.resource} if client.resource else {}))


def revocation_request(client: OAuthClient, refresh_token: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return the headers and the form that revoke a refresh token (RFC 7009)."""
    return _authenticated(client, {"token": refresh_token, "token_type_hint": "refresh_token"})


@asynccontextmanager
async def described(place: str) -> AsyncIterator[None]:
    """Raise every failure of a request inside as an OAuthError that names no secret. `place` says who answers."""
    try:
        yield
    except TimeoutError:
        raise OAuthError("timeout", f"{place} does not answer in time") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        if isinstance(error.__cause__, PermissionError) or isinstance(error, PermissionError):
            raise OAuthError("address_denied", f"{place} leads to an address that may not be reached") from None
        raise OAuthError("unreachable", f"{place} does not answer ({type(error).__name__})") from None


def _authenticated(client: OAuthClient, form: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    headers = {"Accept": "application/json"}
    if client.client_secret and client.authentication == "basic":
        pair = f"{quote_plus(client.client_id)}:{quote_plus(client.client_secret)}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    else:
        form["client_id"] = client.client_id
        if client.client_secret:
            form["client_secret"] = client.client_secret
    return headers, form


def read_answer(status: int, body: bytes) -> Answer:
    """Return what the answer of a token URL gives. Raises OAuthError.

    Nothing of a refusal but its code is shown: a description is the server's text, and may repeat what it was sent.
    """
    message = _object(body)
    if status != HTTPStatus.OK:
        code = message.get("error")
        reason = code if isinstance(code, str) and code in _REASONS else "refused"
        raise OAuthError(reason, f"the token URL answers {status}, {reason}")
    access = message.get("access_token")
    if not _fits_a_header(access):
        raise OAuthError("bad_response", "the token URL gives no access token that fits into a header")
    if str(message.get("token_type", "")).lower() != "bearer":
        raise OAuthError("bad_response", "the token URL gives a token that is no bearer token")
    refresh = message.get("refresh_token")
    usable = isinstance(refresh, str) and len(refresh) <= MAX_TOKEN_CHARACTERS
    return Answer(str(access), str(refresh) if usable else "", _seconds(message.get("expires_in")))


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return message if isinstance(message, dict) else {}


def _fits_a_header(token: object) -> bool:
    return isinstance(token, str) and len(token) <= MAX_TOKEN_CHARACTERS and _IN_A_HEADER.fullmatch(token) is not None


def _seconds(value: object) -> float | None:
    """Return a lifetime, also one that a server writes as a text. None for what is no positive number."""
    try:
        seconds = float(value) if isinstance(value, int | float | str) else 0.0
    except (ValueError, OverflowError):
        return None
    return min(seconds, _LONGEST_S) if math.isfinite(seconds) and seconds > 0 else None
