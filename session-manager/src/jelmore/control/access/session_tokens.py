"""Tokens for one session's URL. Runners verify them offline; managers also check what has ended since."""

import time
from datetime import UTC, datetime, timedelta
from uuid import UUID

from jelmore.control.access.signing import SigningKey
from jelmore.control.requests import Caller, IssuedToken
from jelmore.ports import ApiKey, Role, Store
from jelmore.session.errors import UnauthenticatedError
from jelmore.session.record import Session
from jelmore.session.states import Wanted
from jelmore_protocol.tokens import Audience, Claims, Scope


class EndedTokenError(UnauthenticatedError):
    """The token is valid, but its session has ended or is ending."""


class SessionTokens:
    """Issues and verifies the tokens of sessions. They expire `ttl_s` seconds after their issue."""

    def __init__(self, store: Store, signing: SigningKey, *, ttl_s: int) -> None:
        self._store = store
        self._signing = signing
        self._ttl_s = ttl_s

    def issue_to(self, caller: Caller, session: Session, scopes: frozenset[Scope]) -> IssuedToken:
        """Return a new token for the session's URL, which does not outlive the caller's sign-in."""
        subject = caller.token_subject or caller.key.token_subject
        return self.issue(session, scopes, subject, caller.key.signed_in_until)

    def issue(
        self, session: Session, scopes: frozenset[Scope], subject: str, until: datetime | None = None
    ) -> IssuedToken:
        """Return a new token for the session's URL. It ends `until` then at the latest."""
        expires_at = int(time.time()) + self._ttl_s
        expires_at = expires_at if until is None else min(expires_at, int(until.timestamp()))
        claims = Claims(
            str(session.id), Audience.SESSION, scopes, subject, expires_at, session.generation, session.token_epoch
        )
        return IssuedToken(self._signing.sign(claims), datetime.fromtimestamp(expires_at, UTC))

    def claims(self, token: str | None, session_id: UUID) -> Claims:
        """Return a session token's claims. Raises UnauthenticatedError; ForbiddenError for another session's token."""
        return self._signing.verified(token, Audience.SESSION, str(session_id))

    async def caller(self, claims: Claims, session_id: UUID) -> Caller:
        """Return a caller with the rights of the session's owner, read-only if the token has no write scope.

        Raises UnauthenticatedError when the token's key was revoked, EndedTokenError when its session has ended or is
        ending.
        """
        since = datetime.now(UTC) - timedelta(seconds=self._ttl_s + 60)
        if claims.subject in await self._store.revoked_keys(since):
            raise UnauthenticatedError("the API key that this token was made with was revoked")
        session = await self._store.load(session_id)
        if session.ended or session.wanted is Wanted.ENDED:
            raise EndedTokenError("the session of this token has ended")
        if claims.epoch < session.token_epoch:
            raise UnauthenticatedError("this token was replaced; ask for a new one at POST …/token")
        role = Role.CLIENT if Scope.WRITE in claims.scopes else Role.READONLY
        return Caller(ApiKey(session.owner, claims.holder, role, session.created_at), token_subject=claims.holder)
