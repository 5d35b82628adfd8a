"""Authentication: who calls, and with which rights.

signing.py          the key that signs every token
api_keys.py         keys of people and programs
browser_logins.py   tokens of browsers that signed in
session_tokens.py   tokens for one session's URL
port_grants.py      tokens for one port of a session, on its own origin
gateway_tokens.py   tokens with which runners use the gateway
revocation.py       wakes open streams when a credential ends
"""

from jelmore.control.access.api_keys import ApiKeys, digest, id_of_key, new_key
from jelmore.control.access.browser_logins import LOGIN_TTL_S, BrowserLogins
from jelmore.control.access.gateway_tokens import GatewayTokens
from jelmore.control.access.port_grants import PortGrants
from jelmore.control.access.revocation import Revocation
from jelmore.control.access.session_tokens import EndedTokenError, SessionTokens
from jelmore.control.access.signing import SigningKey, new_signing_key
from jelmore.ports import Store

__all__ = ["LOGIN_TTL_S", "Access", "EndedTokenError", "digest", "id_of_key", "new_key", "new_signing_key"]


class Access:
    """The parts of authentication, on one signing key. Call `open` first: it loads the key."""

    def __init__(self, store: Store, *, token_ttl_s: int) -> None:
        self.signing = SigningKey(store)
        self.keys = ApiKeys(store)
        self.logins = BrowserLogins(self.signing, self.keys)
        self.session_tokens = SessionTokens(store, self.signing, ttl_s=token_ttl_s)
        self.port_grants = PortGrants(store, self.signing, self.keys)
        self.gateway_tokens = GatewayTokens(self.signing)
        self.revocation = Revocation()

    async def open(self, first_key: str | None) -> None:
        """Load the signing key; accept `first_key` as an admin key instead of an earlier one. Idempotent."""
        await self.signing.open()
        if first_key:
            await self.keys.accept_first(first_key)
