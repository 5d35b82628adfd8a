"""Authentication: API keys for people and programs, tokens for one session, gateway tokens for runners."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from jelmore.control.requests import Caller, IssuedToken
from jelmore.ports import ApiKey, Role, Store
from jelmore.session.errors import ForbiddenError, UnauthenticatedError
from jelmore.session.record import Session
from jelmore.session.states import Wanted
from jelmore_protocol.tokens import Audience, Claims, Scope, TokenError, sign, verify

_log = structlog.get_logger(__name__)

KEY_PREFIX: Final = "jlm_"
_FIRST_KEY_NAME: Final = "from JELMORE_API_KEY"
_GATEWAY_TTL_S: Final = 365 * 86400
"""A runner gets a new token with every container. The gateway accepts it only while the sandbox is registered."""


LOGIN_TTL_S: Final = 12 * 3600
"""How long a browser stays signed in."""


class EndedTokenError(UnauthenticatedError):
    """The token is valid, but its session has ended or is ending."""


def new_key() -> str:
    """Return a new API key: 256 bits, recognisable by its prefix."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> str:
    """Return the SHA-256 digest of a key, to store. Keys are long and random, so it cannot be reversed by guessing."""
    return hashlib.sha256(key.encode()).hexdigest()


class Access:
    """Verifies keys and tokens, and issues tokens. Call `open` first: it loads the signing key."""

    def __init__(self, store: Store, *, token_ttl_s: int) -> None:
        self._store = store
        self._token_ttl_s = token_ttl_s
        self._private_pem = ""
        self.public_pem = ""
        self._revoked: frozenset[str] = frozenset()
        self._rotated: Mapping[UUID, int] = {}
        self.revocation = asyncio.Event()  # set at the next revocation, and then replaced

    async def open(self, first_key: str | None) -> None:
        """Load the signing key; accept `first_key` as an admin key instead of an earlier one. Idempotent."""
        self._private_pem = await self._store.signing_key()
        private = serialization.load_pem_private_key(self._private_pem.encode(), password=None)
        self.public_pem = (
            private.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
        if first_key:
            first = await self.add_key(first_key, _FIRST_KEY_NAME, Role.ADMIN)
            await self._retire_first_keys(but=first.id)

    async def _retire_first_keys(self, *, but: str) -> None:
        """Revoke the earlier keys of JELMORE_API_KEY: changing the setting means to replace the key."""
        kept = await self._store.keys()
        for key in kept:
            if key.name == _FIRST_KEY_NAME and key.id != but:
                await self._store.revoke_key(key.id)
                _log.info("key_revoked", key=key.id, why="JELMORE_API_KEY was changed")
        if but not in {key.id for key in kept}:
            _log.warning("key_is_revoked", key=but, why="JELMORE_API_KEY holds a key that was revoked: choose another")

    def is_first_key(self, key: ApiKey) -> bool:
        """Return whether a key comes from the setting JELMORE_API_KEY."""
        return key.name == _FIRST_KEY_NAME

    async def add_key(self, key: str, name: str, role: Role) -> ApiKey:
        """Store `key`, so that it is accepted from now on. The same key again changes nothing."""
        kept = ApiKey(id=f"key_{digest(key)[:12]}", name=name, role=role, created_at=datetime.now(UTC))
        await self._store.add_key(kept, digest(key))
        return kept

    async def caller(self, key: str | None) -> Caller:
        """Return the caller that holds `key`. Raises UnauthenticatedError; a revocation takes effect at once."""
        if not key:
            raise UnauthenticatedError("send an API key in X-API-Key or Authorization: Bearer")
        found = await self._store.key_by_digest(digest(key))
        if found is None:
            raise UnauthenticatedError("this API key is not known")
        return Caller(found)

    async def caller_by_id(self, key_id: str) -> Caller:
        """Return the caller with the key of that id. Raises UnauthenticatedError when it is unknown or revoked."""
        found = await self._store.key_by_id(key_id)
        if found is None:
            raise UnauthenticatedError("the API key that this was made with was revoked")
        return Caller(found)

    def note_revoked(self, key_ids: frozenset[str]) -> None:
        """Set `revocation` when a key was revoked since the last call."""
        if key_ids - self._revoked:
            self._set_revocation()
        self._revoked = key_ids

    def note_rotated(self, epochs: Mapping[UUID, int]) -> None:
        """Set `revocation` when the tokens of a session were rotated since the last call."""
        if any(epoch > self._rotated.get(session_id, 0) for session_id, epoch in epochs.items()):
            self._set_revocation()
        self._rotated = epochs

    def rotated(self, session: Session) -> None:
        """Set `revocation`: the tokens of this session were rotated at this manager."""
        self._rotated = {**self._rotated, session.id: session.token_epoch}
        self._set_revocation()

    def _set_revocation(self) -> None:
        ended, self.revocation = self.revocation, asyncio.Event()
        ended.set()

    def issue(self, session: Session, scopes: frozenset[Scope], subject: str) -> IssuedToken:
        """Return a new token for the session's URL."""
        expires_at = int(time.time()) + self._token_ttl_s
        claims = Claims(
            str(session.id), Audience.SESSION, scopes, subject, expires_at, session.generation, session.token_epoch
        )
        return IssuedToken(sign(claims, self._private_pem), datetime.fromtimestamp(expires_at, UTC))

    def login(self, caller: Caller) -> IssuedToken:
        """Return the token of a browser that signed in with the caller's API key."""
        expires_at = int(time.time()) + LOGIN_TTL_S
        none: frozenset[Scope] = frozenset()
        token = sign(Claims("", Audience.BROWSER, none, caller.key.id, expires_at), self._private_pem)
        return IssuedToken(token, datetime.fromtimestamp(expires_at, UTC))

    async def caller_of_login(self, token: str) -> Caller:
        """Return the caller of a browser's login. Raises UnauthenticatedError, also when its key was revoked."""
        return await self.caller_by_id(self._verified(token, None, Audience.BROWSER).subject)

    def gateway_token(self, session: Session) -> str:
        """Return the token with which a runner uses the gateway where no socket of its own says who it is."""
        expires_at = int(time.time()) + _GATEWAY_TTL_S
        none: frozenset[Scope] = frozenset()
        return sign(
            Claims(str(session.id), Audience.GATEWAY, none, session.owner, expires_at, session.generation),
            self._private_pem,
        )

    async def session_claims(self, token: str | None, session_id: UUID) -> Claims:
        """Return a session token's claims. Raises UnauthenticatedError; ForbiddenError for another session's token."""
        return self._verified(token, str(session_id), Audience.SESSION)

    async def caller_of(self, claims: Claims, session_id: UUID) -> Caller:
        """Return a caller with the rights of the session's owner, read-only if the token has no write scope.

        Raises UnauthenticatedError when the token's key was revoked, EndedTokenError when its session has ended or is
        ending.
        """
        since = datetime.now(UTC) - timedelta(seconds=self._token_ttl_s + 60)
        if claims.subject in await self._store.revoked_keys(since):
            raise UnauthenticatedError("the API key that this token was made with was revoked")
        session = await self._store.load(session_id)
        if session.ended or session.wanted is Wanted.ENDED:
            raise EndedTokenError("the session of this token has ended")
        if claims.epoch < session.token_epoch:
            raise UnauthenticatedError("this token was replaced; ask for a new one at POST …/token")
        role = Role.CLIENT if Scope.WRITE in claims.scopes else Role.READONLY
        return Caller(ApiKey(session.owner, claims.subject, role, session.created_at), token_subject=claims.subject)

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
