"""What an id token must be, and who somebody is by its claims. Pure but for the clock.

The rules are those of OpenID Connect Core 1.0, section 3.1.3.7.
"""

import hashlib
import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from jelmore.ports import Role
from jelmore.ports.sign_in import Account
from jelmore.session.errors import UnauthenticatedError

ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with a key pair. Neither `none` nor the HMACs, whose key would be a public one."""

_KEY_TYPES: Final = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_MINIMUM_RSA_BITS: Final = 2048
_MAX_TOKEN_CHARACTERS: Final = 128 * 1024
_MAX_GROUPS: Final = 10_000
_MAX_TEXT: Final = 256
_LEEWAY_S: Final = 60
_NAMES: Final = ("preferred_username", "email", "name")
_BY_RIGHTS: Final = (Role.ADMIN, Role.CLIENT, Role.READONLY)


class Refusal(StrEnum):
    """Why somebody was not signed in. The page has a sentence for each."""

    AWAY = "provider_away"
    MISCONFIGURED = "provider_misconfigured"
    CANCELLED = "cancelled"
    ENDED = "ended"  # the provider knows nobody in this browser any more
    STATE = "other_attempt"
    EXPIRED = "too_slow"
    CODE = "code_refused"
    TOKEN = "bad_token"  # noqa: S105 - no secret
    GROUPS = "no_group"
    REVOKED = "revoked"
    BUSY = "busy"


class SignInError(UnauthenticatedError):
    """Somebody was not signed in. `reason` is for the page, the message for the log."""

    def __init__(self, reason: Refusal, message: str, account: Account | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.account = account


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """How people sign in. `secret` reads the client's secret, None for a public client."""

    issuer: str
    client_id: str
    redirect_uri: str
    groups: Mapping[Role, frozenset[str]]
    secret: Callable[[], str | None] = lambda: None
    name: str = "single sign-on"
    scopes: str = "openid profile email"
    groups_claim: str = "groups"
    user_claim: str = "sub"
    login_ttl_s: int = 3600


def signing_key(keys: Sequence[Mapping[str, Any]], token: str) -> jwt.PyJWK | None:
    """Return the key that a token says it is signed with; None when it is not among the keys.

    Raises SignInError for an algorithm that is not allowed, and for a key that does not fit it.
    """
    algorithm, key_id = _header(token)
    kind = _KEY_TYPES[algorithm[:2]]
    fitting = [each for each in keys if each.get("kty") == kind and each.get("use", "sig") == "sig"]
    fitting = [each for each in fitting if each.get("alg", algorithm) == algorithm]
    named = [each for each in fitting if key_id is None or each.get("kid") == key_id]
    if len(named) != 1:  # without a name there must be no choice
        return None
    try:
        found = jwt.PyJWK(dict(named[0]), algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _bad("the provider's key cannot be read") from None
    if isinstance(found.key, RSAPublicKey) and found.key.key_size < _MINIMUM_RSA_BITS:
        raise _bad(f"the provider's key has fewer than {_MINIMUM_RSA_BITS} bits")
    return found


def checked_claims(token: str, key: jwt.PyJWK, config: OidcConfig, nonce: str) -> Mapping[str, Any]:
    """Return the claims of an id token for this client and attempt. Raises SignInError."""
    algorithm, _ = _header(token)
    try:
        found: Mapping[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[algorithm],
            audience=config.client_id,
            issuer=config.issuer,
            leeway=_LEEWAY_S,
            options={"require": ["iss", "sub", "aud", "exp", "iat"]},
        )
    except (jwt.PyJWTError, ValueError, TypeError) as error:
        raise _bad(f"the id token is not valid: {type(error).__name__}") from None
    audience = found["aud"]
    party = found.get("azp")
    if (party is not None and party != config.client_id) or (
        party is None and isinstance(audience, list) and len(audience) > 1
    ):
        raise _bad("the id token was made for another client")
    if not same_text(found.get("nonce"), nonce):
        raise _bad("the id token has another nonce: it is not of this attempt")
    return found


def with_userinfo(claims: Mapping[str, Any], found: Mapping[str, Any], config: OidcConfig) -> Mapping[str, Any]:
    """Return the claims of an id token, and of the userinfo endpoint what the token lacks.

    Groups count together, from one of the two. Only the endpoint says whether an address from there is verified.
    """
    left = set[str]()
    if not groups_in(claims, config.groups_claim):
        left.add(config.groups_claim)
    if "email" not in claims:
        left.add("email_verified")
    return {**found, **{name: value for name, value in claims.items() if name not in left}}


def account_of(claims: Mapping[str, Any], config: OidcConfig) -> Account:
    """Return who somebody is and what they may do. Raises SignInError, with the account if none of its groups may."""
    user_id = claims.get(config.user_claim)
    if not isinstance(user_id, str) or not _is_text(user_id):
        raise _bad(f"the provider names nobody: the claim {config.user_claim} is missing or too long")
    if config.user_claim == "email" and str(claims.get("email_verified", True)).lower() != "true":  # some write a text
        raise _bad("the provider has not verified the address")
    name: str = next((claims[each] for each in _NAMES if _is_text(claims.get(each))), user_id)
    identity = hashlib.sha256(f"{config.issuer}\n{user_id}".encode()).hexdigest()[:24]
    role = role_of(groups_in(claims, config.groups_claim), config.groups)
    account = Account(f"account_{identity}", user_id, name[:128], role or Role.READONLY)
    if role is None:
        raise SignInError(Refusal.GROUPS, "none of the groups may use this installation", account)
    return account


def same_text(given: object, wanted: str) -> bool:
    """Return whether a value of the provider is this text, in a time that says nothing of it."""
    if not isinstance(given, str):
        return False
    return hmac.compare_digest(given.encode(errors="surrogatepass"), wanted.encode(errors="surrogatepass"))


def groups_in(claims: Mapping[str, Any], claim: str) -> frozenset[str]:
    """Return the groups in a claim: a list of texts, or one text. `claim` is a name, or a path with dots."""
    found: Any = claims.get(claim)
    if found is None:
        found = claims
        for part in claim.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
    if isinstance(found, str):
        return frozenset({found})
    return (
        frozenset(each for each in found[:_MAX_GROUPS] if isinstance(each, str))
        if isinstance(found, list)
        else frozenset()
    )


def role_of(groups: frozenset[str], allowed: Mapping[Role, frozenset[str]]) -> Role | None:
    """Return the role with the most rights that one of the groups gives, None when none gives any."""
    return next((role for role in _BY_RIGHTS if groups & allowed.get(role, frozenset())), None)


def _header(token: str) -> tuple[str, str | None]:
    """Return algorithm and key id of a token. Raises SignInError, also for an algorithm that is not allowed."""
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise _bad("the id token is too large")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise _bad("the id token is no JWT") from None
    algorithm, key_id = header.get("alg"), header.get("kid")
    if algorithm not in ALGORITHMS:
        raise _bad("the id token is not signed with an algorithm that is allowed")
    return algorithm, key_id if isinstance(key_id, str) else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and value.isprintable()


def _bad(message: str) -> SignInError:
    return SignInError(Refusal.TOKEN, message)
