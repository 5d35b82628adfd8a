"""What a credential of a route puts into its header: a value as it was set, or the access token of an OAuth client."""

from collections.abc import Callable, Sequence

import aiohttp

from jelmore_gateway.oauth import Authorizations, OAuthError, OAuthTimes, OAuthTokens
from jelmore_gateway.oauth.rotated import RotatedTokens
from jelmore_gateway.server_clients import ServerClients
from jelmore_gateway.state import State
from jelmore_gateway.vault import Vault
from jelmore_protocol.gateway import CredentialState, GatewayConfig, SealedCredential


class RouteCredentials:
    """Opens the credentials of a configuration. `close` ends the requests for tokens."""

    def __init__(
        self,
        vault: Vault,
        state: State,
        servers: ServerClients,
        times: OAuthTimes | None = None,
        config: Callable[[], GatewayConfig] = lambda: GatewayConfig(digest=""),
    ) -> None:
        self._vault = vault
        self._servers = servers
        self._tokens = OAuthTokens(vault, RotatedTokens(vault, state), self._connect, times)
        self.authorizations = Authorizations(vault, self._tokens, self._connect, config)

    async def close(self) -> None:
        """End what is under way. May run twice."""
        await self._tokens.close()

    async def open(self, sealed: SealedCredential) -> str:
        """Return what goes into the header now. Raises VaultError, OAuthError."""
        if sealed.kind == "oauth":
            return await self._tokens.token(sealed)
        return self._vault.open(sealed, sealed.sealed)

    async def replace(self, sealed: SealedCredential, refused: str) -> str | None:
        """Return another access token after a server refused one, None when there is none now. Never raises."""
        return await self._tokens.replace(sealed, refused)

    async def keep_only(self, credentials: Sequence[SealedCredential]) -> None:
        """Forget the tokens of credentials that are gone. Raises StateError."""
        await self._tokens.keep_only(credentials)

    def states(self) -> list[CredentialState]:
        """Return how the last request for a token of each OAuth credential went."""
        return self._tokens.states()

    def _connect(self, url: str, private: bool) -> aiohttp.ClientSession:
        why = self._servers.denial(url, private=private)
        if why is not None:
            raise OAuthError("address_denied", f"the token URL leads to an address that may not be reached ({why})")
        return self._servers.client(private=private)
