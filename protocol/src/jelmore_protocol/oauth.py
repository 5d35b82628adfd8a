"""How the gateway gets the access tokens of a server that wants OAuth 2.0 (RFC 6749)."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, model_validator

from jelmore_protocol.bounded_shape import BoundedShape


class OAuthClient(BoundedShape):
    """A client of an authorization server. With a `refresh_token` it uses that grant, else `client_credentials`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True, hide_input_in_errors=True)

    token_url: str = Field(
        max_length=2000, pattern=r"^https?://[^\s@#]+$", examples=["https://auth.example.com/oauth/token"]
    )
    client_id: str = Field(min_length=1, max_length=1000, pattern=r"^[\x20-\x7e]+$")
    client_secret: str = Field("", max_length=4000, json_schema_extra={"writeOnly": True}, repr=False)
    refresh_token: str = Field("", max_length=8000, json_schema_extra={"writeOnly": True}, repr=False)
    scopes: list[str] = Field([], max_length=100, description="Unset: those that the server gives by itself.")
    resource: str = Field(
        "", max_length=2000, description="The server that the token is for (RFC 8707); MCP servers often want it."
    )
    authentication: Literal["basic", "post"] = Field(
        "basic", description="How the client proves who it is: HTTP Basic, or its secret in the form."
    )
    revocation_url: str = Field(
        "", max_length=2000, pattern=r"^(https?://[^\s@#]+)?$", description="Where a removal revokes the refresh token."
    )
    private: bool = Field(
        default=False, description="The token URL has an address of a private network. Only admins may set it."
    )

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not self.client_secret and not self.refresh_token:
            raise ValueError("give client_secret, refresh_token, or both")
        for name, url in (("token_url", self.token_url), ("revocation_url", self.revocation_url)):
            parts = urlsplit(url)
            if url and parts.scheme != "https" and not self.private:
                raise ValueError(f"{name} must be https, unless private is true: it gets the secrets")
            if url and not parts.hostname:
                raise ValueError(f"{name} has no host")
        _check_scopes(self.scopes)
        return self

    @property
    def grant(self) -> str:
        """The grant that is used."""
        return "refresh_token" if self.refresh_token else "client_credentials"


class RouteOAuth(BoundedShape):
    """How people authorize the gateway at a route's server. What is unset is found in the server's metadata."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    issuer: str = Field(
        "",
        max_length=2000,
        pattern=r"^(https?://[^\s@?#]+)?$",
        description="The authorization server, if not as published.",
    )
    client_id: str = Field(
        "",
        max_length=1000,
        pattern=r"^[\x20-\x7e]*$",
        description="A client that you registered there; unset: by itself.",
    )
    client_secret: str = Field(
        "", max_length=64, description="The name of the deployment's credential that holds the client's secret."
    )
    scopes: list[str] = Field([], max_length=50, description="Unset: those that the server names.")

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _check_scopes(self.scopes)
        if self.client_secret and not self.client_id:
            raise ValueError("client_id: is missing beside client_secret")
        if self.client_id and not self.issuer:
            raise ValueError("issuer: is missing beside client_id: its secret and codes are for no other server")
        return self


def _check_scopes(scopes: list[str]) -> None:
    for scope in scopes:
        if not scope or any(not "\x21" <= each <= "\x7e" or each in '"\\' for each in scope):
            raise ValueError(f"scopes: {scope[:100]!r} is not a scope")
