"""Wires signing in at an identity provider, for `bootstrap`."""

from collections.abc import Sequence

from jelmore.api.sign_in import CALLBACK_PATH
from jelmore.bootstrap.loops import Loop
from jelmore.control.sign_in import OidcConfig, SignIn
from jelmore.drivers.http_identity_provider import HttpIdentityProvider
from jelmore.drivers.postgres_accounts import PostgresAccounts
from jelmore.ports import Role
from jelmore.settings import Settings


class SignInServices:
    """`sign_in` is None where people sign in with keys only."""

    def __init__(self, settings: Settings) -> None:
        self.loops: Sequence[Loop] = ()
        self.sign_in: SignIn | None = None
        self._http = HttpIdentityProvider()
        self._accounts = PostgresAccounts(settings.database_url.get_secret_value())
        if settings.oidc_issuer is not None:
            self.sign_in = SignIn(oidc_config(settings, settings.oidc_issuer), self._http, self._accounts)

    async def close(self) -> None:
        """Release connections."""
        await self._http.close()
        await self._accounts.close()


def oidc_config(settings: Settings, issuer: str) -> OidcConfig:
    """Return what the settings say of the identity provider."""
    return OidcConfig(
        issuer=issuer,
        client_id=settings.oidc_client_id,
        redirect_uri=settings.public_url + CALLBACK_PATH,
        groups={Role(role): names for role, names in settings.oidc_groups.items()},
        secret=settings.oidc_secret,
        name=settings.oidc_name,
        scopes=settings.oidc_scopes,
        groups_claim=settings.oidc_groups_claim,
        user_claim=settings.oidc_user_claim,
        login_ttl_s=settings.oidc_login_s,
    )
