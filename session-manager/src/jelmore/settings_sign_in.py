"""The settings of signing in at an identity provider (OpenID Connect)."""

from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from jelmore.settings_addresses import AddressSettings, words_of

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SignInSettings(AddressSettings):
    """Part of `Settings`: who may sign in to the dashboard without a key."""

    # --- signing in at an identity provider
    oidc_issuer: str | None = Field(
        None,
        pattern=r"^https?://[^\s?#]+$",
        description="Identity provider (OpenID Connect) at which people sign in to the dashboard: its issuer, exactly "
        "as its discovery document has it. Unset: with keys only.",
    )
    oidc_client_id: str = Field("", max_length=256, description="The id of this installation at the identity provider.")
    oidc_client_secret: SecretStr | None = Field(
        None, description="The secret that goes with it. Unset: a public client, which PKCE alone protects."
    )
    oidc_client_secret_file: Path | None = Field(
        None, description="A file with this secret instead. It may change while managers run."
    )
    oidc_name: str = Field(
        "single sign-on", min_length=1, max_length=40, description="What the button to sign in there is called."
    )
    oidc_scopes: str = Field(
        "openid profile email",
        pattern=r"^[!#-\[\]-~]+( [!#-\[\]-~]+)*$",
        description="Scopes to ask for, with spaces between. `openid` must be among them.",
    )
    oidc_user_claim: str = Field(
        "sub",
        min_length=1,
        max_length=128,
        description="The claim that says who somebody is. It becomes the `user_id` of their sessions, so it must never "
        "pass to another person.",
    )
    oidc_groups_claim: str = Field(
        "groups",
        min_length=1,
        max_length=128,
        description="The claim with somebody's groups, as `groups` or `realm_access.roles`. It is looked for in the id "
        "token, then at the userinfo endpoint.",
    )
    oidc_admin_groups: str = Field("", description="Groups whose members are admins, separated by commas.")
    oidc_client_groups: str = Field("", description="Groups whose members have sessions of their own.")
    oidc_readonly_groups: str = Field("", description="Groups whose members may read every session.")
    oidc_login_s: int = Field(
        3600,
        ge=60,
        le=43_200,
        description="How long a sign-in lasts. Then the provider is asked again, so this is how long somebody whom it "
        "has disabled keeps access at most.",
    )

    @model_validator(mode="after")
    def _sign_in_fits(self) -> Self:
        if self.oidc_issuer is None:
            return self
        if not self.oidc_client_id:
            raise ValueError("JELMORE_OIDC_CLIENT_ID: is needed for JELMORE_OIDC_ISSUER")
        if not (self.oidc_admin_groups or self.oidc_client_groups or self.oidc_readonly_groups):
            raise ValueError("JELMORE_OIDC_ADMIN_GROUPS: no group gives access; name one, here or for another role")
        if "openid" not in self.oidc_scopes.split():
            raise ValueError("JELMORE_OIDC_SCOPES: `openid` is missing")
        if self.oidc_client_secret is not None and self.oidc_client_secret_file is not None:
            raise ValueError("JELMORE_OIDC_CLIENT_SECRET_FILE: give either the file or JELMORE_OIDC_CLIENT_SECRET")
        for name, url in (("JELMORE_OIDC_ISSUER", self.oidc_issuer), ("JELMORE_PUBLIC_URL", self.public_url)):
            parts = urlsplit(url)
            if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
                raise ValueError(f"{name}: must begin with https:// where people sign in at an identity provider")
        return self

    @property
    def oidc_groups(self) -> dict[str, frozenset[str]]:
        """The groups that give a role, by the role's name."""
        by_role = {"admin": self.oidc_admin_groups, "client": self.oidc_client_groups}
        return {
            role: frozenset(words_of(text)) for role, text in {**by_role, "readonly": self.oidc_readonly_groups}.items()
        }

    def oidc_secret(self) -> str | None:
        """Return the client's secret as it is now. Raises OSError, UnicodeDecodeError."""
        if self.oidc_client_secret_file is not None:
            return self.oidc_client_secret_file.read_text().strip() or None
        return self.oidc_client_secret.get_secret_value() if self.oidc_client_secret else None
