"""Grants of ports: tokens with which a browser sees one port of one session, on an origin of its own."""

import time
from datetime import UTC, datetime
from uuid import UUID

from jelmore.control.access.api_keys import ApiKeys
from jelmore.control.access.signing import SigningKey
from jelmore.control.requests import Caller, IssuedToken
from jelmore.ports import Store
from jelmore.session.errors import ForbiddenError, UnauthenticatedError
from jelmore.session.record import Session
from jelmore_protocol.tokens import Audience, Claims, Scope


class PortGrants:
    """Issues and verifies grants. A grant ends with its key, and with a rotation of the session's tokens."""

    def __init__(self, store: Store, signing: SigningKey, keys: ApiKeys) -> None:
        self._store = store
        self._signing = signing
        self._keys = keys

    def issue(self, session: Session, port: int, key_id: str, *, ttl_s: int) -> IssuedToken:
        """Return a new grant, which expires after `ttl_s` seconds."""
        expires_at = int(time.time()) + ttl_s
        scopes = frozenset({Scope.READ, Scope.WRITE})
        claims = Claims(
            str(session.id), Audience.PORT, scopes, key_id, expires_at, session.generation, session.token_epoch, port
        )
        return IssuedToken(self._signing.sign(claims), datetime.fromtimestamp(expires_at, UTC))

    async def caller(self, token: str, session_id: UUID, port: int) -> tuple[Caller, int]:
        """Return the caller that a grant was issued to, and when it expires, in seconds since the epoch.

        Raises UnauthenticatedError when it has expired or was revoked, ForbiddenError for another session or port, or
        when its key may not write any more, UnknownSessionError when its key no longer sees the session.
        """
        claims = self._signing.verified(token, Audience.PORT, str(session_id))
        if claims.port != port:
            raise ForbiddenError("the link is for another port")
        caller = await self._keys.caller_by_id(claims.subject)
        caller.check_may_write()
        session = caller.sees(await self._store.load(session_id))
        if claims.epoch < session.token_epoch:
            raise UnauthenticatedError("the tokens of the session were replaced")
        return caller, claims.expires_at
