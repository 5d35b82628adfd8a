"""What an identity provider says of itself (OpenID Connect Discovery 1.0), and the keys that it signs with.

Both are kept for a while. A token with an unknown key makes it ask for the keys again, at most every few seconds: that
is how providers replace their keys, and how somebody would make this server call the provider.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
import structlog

from jelmore.control.sign_in.claims import Refusal, SignInError, signing_key
from jelmore.ports.sign_in import IdentityProvider
from jelmore.session.errors import DependencyError

_log = structlog.get_logger(__name__)

_METADATA_S: Final = 3600.0
_KEYS_S: Final = 600.0
_KEYS_AGAIN_S: Final = 5.0
_AFTER_FAILURE_S: Final = 2.0
_MAX_KEYS: Final = 100
_OK: Final = 200
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Metadata:
    """The addresses of a provider, and how a client sends its secret."""

    authorization_url: str
    token_url: str
    keys_url: str
    userinfo_url: str | None
    posts_secret: bool
    end_session_url: str | None = None


class Provider:
    """One identity provider. Any number of calls may wait for one request to it."""

    def __init__(self, http: IdentityProvider, issuer: str, now: Callable[[], float] = time.monotonic) -> None:
        self._http = http
        self._issuer = issuer
        self._now = now
        self._lock = asyncio.Lock()
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[Sequence[Mapping[str, Any]], float] | None = None
        self._failed: tuple[SignInError, float] | None = None

    async def metadata(self) -> Metadata:
        """Return the provider's metadata. Raises SignInError."""
        async with self._lock:
            if self._metadata is None or self._now() - self._metadata[1] > _METADATA_S:
                url = self._issuer.rstrip("/") + "/.well-known/openid-configuration"
                self._metadata = (metadata_of(await self._object(url), self._issuer), self._now())
            return self._metadata[0]

    async def key_of(self, token: str) -> jwt.PyJWK:
        """Return the key that a token is signed with. Raises SignInError."""
        url = (await self.metadata()).keys_url
        async with self._lock:
            age_s = _KEYS_S + 1 if self._keys is None else self._now() - self._keys[1]
            found = signing_key(self._keys[0], token) if self._keys and age_s <= _KEYS_S else None
            if found is None and age_s > _KEYS_AGAIN_S:
                keys = (await self._object(url)).get("keys")
                listed = [each for each in keys if isinstance(each, Mapping)] if isinstance(keys, list) else []
                self._keys = (listed[:_MAX_KEYS], self._now())
                found = signing_key(listed[:_MAX_KEYS], token)
        if found is None:
            raise SignInError(Refusal.TOKEN, "the id token is signed with a key that the provider does not publish")
        return found

    async def _object(self, url: str) -> Mapping[str, Any]:
        """Return the JSON object at `url`. After a failure, others fail alike for a moment without a request."""
        if self._failed is not None and self._now() - self._failed[1] < _AFTER_FAILURE_S:
            raise self._failed[0]
        try:
            answer = await self._http.call(url)
        except DependencyError as error:
            failed = SignInError(Refusal.AWAY, str(error))
        else:
            if answer.status == _OK and answer.body:
                self._failed = None
                return answer.body
            failed = SignInError(Refusal.AWAY, f"{url} answered {answer.status} without the JSON that is expected")
        self._failed = (failed, self._now())
        raise failed


def metadata_of(found: Mapping[str, Any], issuer: str) -> Metadata:
    """Return what the document of a provider says. Raises SignInError naming what is wrong with it.

    Only what a sign-in cannot do without is refused: an address that is optional and cannot be used is left out.
    """
    if found.get("issuer") != issuer:
        raise _wrong(f"issuer: the provider calls itself {str(found.get('issuer'))[:200]!r}, not {issuer!r}")
    urls = {name: found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    for name, url in urls.items():
        if not isinstance(url, str) or not is_safe(url):
            raise _wrong(f"{name}: is not an https:// address")
    userinfo = _optional(found, "userinfo_endpoint", "groups and names come from the id token only")
    end = _optional(found, "end_session_endpoint", "signing out ends the login here, and not at the provider")
    methods = found.get("token_endpoint_auth_methods_supported")
    basic = not isinstance(methods, list) or "client_secret_basic" in methods
    authorization, token, keys = (str(url) for url in urls.values())
    return Metadata(authorization, token, keys, userinfo, not basic, end)


def _optional(found: Mapping[str, Any], name: str, without: str) -> str | None:
    """Return an address that a provider need not have; None with a warning when it cannot be used."""
    url = found.get(name)
    if url is None or (isinstance(url, str) and is_safe(url)):
        return url
    _log.warning("provider_address_ignored", field=name, error=f"is not an https:// address: {without}")
    return None


def is_safe(url: str) -> bool:
    """Return whether an address has TLS, or is one of this machine."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    local = parts.scheme == "http" and parts.hostname in _LOOPBACK
    return bool(parts.hostname) and (parts.scheme == "https" or local) and parts.username is None and not parts.fragment


def _wrong(message: str) -> SignInError:
    return SignInError(Refusal.MISCONFIGURED, message)
