"""Tokens with which runners use the gateway. The gateway verifies them with the public key."""

import time
from typing import Final

from jelmore.control.access.signing import SigningKey
from jelmore.session.record import Session
from jelmore_protocol.tokens import Audience, Claims, Scope

_TTL_S: Final = 365 * 86400
"""A runner gets a new token with every container. The gateway accepts it only while the sandbox is registered."""


class GatewayTokens:
    """Issues one token per container."""

    def __init__(self, signing: SigningKey) -> None:
        self._signing = signing

    def issue(self, session: Session) -> str:
        """Return the token with which a runner uses the gateway where no socket of its own says who it is."""
        expires_at = int(time.time()) + _TTL_S
        none: frozenset[Scope] = frozenset()
        claims = Claims(str(session.id), Audience.GATEWAY, none, session.owner, expires_at, session.generation)
        return self._signing.sign(claims)
