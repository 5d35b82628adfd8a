"""Tokens of browsers that signed in, with an API key or at an identity provider."""

import time
from datetime import UTC, datetime
from typing import Final

from jelmore.control.access.api_keys import ApiKeys
from jelmore.control.access.signing import SigningKey
from jelmore.control.requests import Caller, IssuedToken
from jelmore_protocol.tokens import Audience, Claims, Scope

LOGIN_TTL_S: Final = 12 * 3600
"""How long a browser stays signed in."""


class BrowserLogins:
    """Issues and verifies logins. A login ends with its key."""

    def __init__(self, signing: SigningKey, keys: ApiKeys) -> None:
        self._signing = signing
        self._keys = keys

    def issue(self, caller: Caller, ttl_s: int = LOGIN_TTL_S) -> IssuedToken:
        """Return the token of a browser that signed in as the caller, for `ttl_s` seconds."""
        expires_at = int(time.time()) + ttl_s
        none: frozenset[Scope] = frozenset()
        token = self._signing.sign(Claims("", Audience.BROWSER, none, caller.key.id, expires_at))
        return IssuedToken(token, datetime.fromtimestamp(expires_at, UTC))

    async def caller(self, token: str) -> Caller:
        """Return the caller of a browser's login. Raises UnauthenticatedError, also when its key was revoked."""
        return await self._keys.caller_by_id(self._signing.verified(token, Audience.BROWSER).subject)
