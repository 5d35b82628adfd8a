"""Who may come in: API keys for people and programs, session tokens for one session, gateway tokens for runners."""

import hashlib
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jelmore.control.requests import Caller, IssuedToken
from jelmore.ports import ApiKey, Role, Store
from jelmore.session.errors import DependencyError, ForbiddenError, UnauthenticatedError, UnknownSessionError
from jelmore.session.record import Session
from jelmore_protocol.tokens import Audience, Claims, Scope, TokenError, sign, verify

KEY_PREFIX: Final = "jlm_"
_CACHE_S: Final = 10.0
_CACHE_ENTRIES: Final = 10_000
_GATEWAY_TTL_S: Final = 365 * 86400
"""A runner gets a new token with every container; what ends its use is the end of the session, checked at each call."""

_OAUTH_BETA: Final = "oauth-2025-04-20"
"""The Messages API takes a plan's token only with this beta named (seen in Claude Code's own requests)."""


@dataclass(frozen=True, slots=True)
class ModelCredential:
    """The deployment's credential for the model API; at most one is set."""

    api_key: str | None = None
    auth_token: str | None = None
    oauth_token: str | None = None

    def headers(self, beta: str | None) -> dict[str, str]:
        """Return what to put on a request to the model API. `beta` is the request's own anthropic-beta."""
        if self.api_key:
            return {"X-Api-Key": self.api_key}
        if self.auth_token:
            return {"Authorization": f"Bearer {self.auth_token}"}
        if self.oauth_token:
            betas = [word.strip() for word in (beta or "").split(",") if word.strip()]
            both = ",".join(dict.fromkeys([*betas, _OAUTH_BETA]))
            return {"Authorization": f"Bearer {self.oauth_token}", "Anthropic-Beta": both}
        return {}


def new_key() -> str:
    """Return a new API key: 256 bits, recognisable by its prefix."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Return what is stored of a key. It is random and long, so a plain digest cannot be guessed back."""
    return hashlib.sha256(key.encode()).hexdigest()


class Access:
    """Answers who a key or token belongs to. Knows the signing key once `open` has run."""

    def __init__(self, store: Store, credential: ModelCredential, *, token_ttl_s: int) -> None:
        self._store = store
        self._credential = credential
        self._token_ttl_s = token_ttl_s
        self._private_pem = ""
        self.public_pem = ""
        self._callers: dict[str, tuple[float, ApiKey]] = {}
        self._live: dict[UUID, float] = {}  # sessions known to live, and until when that need not be looked up

    async def open(self, first_key: str | None) -> None:
        """Load the signing key; accept `first_key` as an admin key. Any number of times."""
        self._private_pem = await self._store.signing_key()
        private = serialization.load_pem_private_key(self._private_pem.encode(), password=None)
        self.public_pem = (
            private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        if first_key:
            await self.add_key(first_key, "from JELMORE_API_KEY", Role.ADMIN)

    async def add_key(self, key: str, name: str, role: Role) -> ApiKey:
        """Accept `key` from now on; the same key again changes nothing."""
        kept = ApiKey(id=f"key_{digest(key)[:12]}", name=name, role=role, created_at=datetime.now(UTC))
        await self._store.add_key(kept, digest(key))
        return kept

    async def caller(self, key: str | None) -> Caller:
        """Return who holds `key`. Raises UnauthenticatedError. A revoked key is refused within ten seconds."""
        if not key:
            raise UnauthenticatedError("send an API key in X-API-Key or Authorization: Bearer")
        known = digest(key)
        cached = self._callers.get(known)
        if cached is not None and cached[0] > time.monotonic():
            return Caller(cached[1])
        found = await self._store.key_by_digest(known)
        if found is None:
            self._callers.pop(known, None)
            raise UnauthenticatedError("this API key is not known")
        if len(self._callers) >= _CACHE_ENTRIES:
            self._callers.clear()
        self._callers[known] = (time.monotonic() + _CACHE_S, found)
        return Caller(found)

    def issue(self, session: Session, scopes: frozenset[Scope], subject: str) -> IssuedToken:
        """Return a token for the session's own URL."""
        expires_at = int(time.time()) + self._token_ttl_s
        claims = Claims(str(session.id), Audience.SESSION, scopes, subject, expires_at, session.generation)
        return IssuedToken(sign(claims, self._private_pem), datetime.fromtimestamp(expires_at, UTC))

    def gateway_token(self, session: Session) -> str:
        """Return the token with which one container's runner uses the model gateway. Its session lives."""
        self._known_live(session.id, self._live.get(session.id, 0))  # to be looked up at the first call, if it can be
        expires_at = int(time.time()) + _GATEWAY_TTL_S
        none: frozenset[Scope] = frozenset()
        return sign(
            Claims(str(session.id), Audience.GATEWAY, none, session.owner, expires_at, session.generation),
            self._private_pem,
        )

    async def session_claims(self, token: str | None, session_id: UUID) -> Claims:
        """Return what a session token allows. Raises UnauthenticatedError, or ForbiddenError for another session's."""
        return self._verified(token, str(session_id), Audience.SESSION)

    async def caller_of(self, claims: Claims, session_id: UUID) -> Caller:
        """Return a caller that acts as the session's owner, and only looks when the token only reads."""
        session = await self._store.load(session_id)
        role = Role.CLIENT if Scope.WRITE in claims.scopes else Role.READONLY
        return Caller(ApiKey(session.owner, claims.subject, role, session.created_at))

    async def authorize_gateway(self, token: str | None, beta: str | None = None) -> Mapping[str, str]:
        """Return the headers for the model API. Raises UnauthenticatedError, ForbiddenError once the session ended."""
        claims = self._verified(token, None, Audience.GATEWAY)
        session_id = UUID(claims.session_id)
        if self._live.get(session_id, 0) < time.monotonic():
            try:
                ended = (await self._store.load(session_id)).ended
            except UnknownSessionError:
                ended = True
            except DependencyError:
                if session_id not in self._live:
                    raise
                ended = False  # nobody can end it while the database is away: its turns go on
            if ended:
                self._live.pop(session_id, None)
                raise ForbiddenError("the session has ended")
            self._known_live(session_id, time.monotonic() + _CACHE_S)
        return self._credential.headers(beta)

    def _known_live(self, session_id: UUID, until: float) -> None:
        if len(self._live) >= _CACHE_ENTRIES:
            self._live.clear()
        self._live[session_id] = until

    def _verified(self, token: str | None, session_id: str | None, audience: Audience) -> Claims:
        if not token:
            raise UnauthenticatedError("send a token in Authorization: Bearer")
        try:
            return verify(token, self.public_pem, session_id=session_id, audience=audience)
        except TokenError as error:
            if error.forbidden:
                raise ForbiddenError(str(error)) from None
            raise UnauthenticatedError(str(error)) from None


def new_signing_key() -> str:
    """Return a new Ed25519 private key as PEM."""
    return (
        Ed25519PrivateKey.generate()
        .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        .decode()
    )
