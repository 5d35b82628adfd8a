"""How a person lets the gateway use a server in their name: OAuth's authorization code grant.

| call on the gateway's control socket | meaning |
|---|---|
| `POST /authorizations` | AuthorizationRequest -> AuthorizationStarted; asks the server where people give consent |
| `POST /authorizations/finish` | AuthorizationAnswer -> Authorized; exchanges the code, once |
| `POST /authorizations/end` | SealedCredential -> AuthorizationEnd; revokes the refresh token of a credential |

A person's browser carries only the code, which is worth nothing without the verifier in `sealed`.
"""

from datetime import datetime

from pydantic import Field

from jelmore_protocol.gateway import CredentialKey, CredentialKind, Message, Route

MAX_CODE_CHARACTERS = 8000
MAX_ISSUER_CHARACTERS = 2000


class AuthorizationRequest(Message):
    """Begin for a route. The tokens will be the credential `whose`."""

    route: Route
    whose: CredentialKey
    redirect_uri: str = Field(max_length=2000)


class AuthorizationStarted(Message):
    """Where to send the person. `sealed` is what the gateway needs to finish, encrypted."""

    url: str
    state: str = Field(repr=False)
    issuer: str
    sealed: str = Field(repr=False)


class AuthorizationAnswer(Message):
    """What the person's browser came back with. `issuer` is empty when the server did not say who it is."""

    whose: CredentialKey
    sealed: str = Field(repr=False)
    code: str = Field(min_length=1, max_length=MAX_CODE_CHARACTERS, repr=False)
    issuer: str = Field(default="", max_length=MAX_ISSUER_CHARACTERS)


class Authorized(Message):
    """The credential to store. Without `renewable` it is an access token that ends at `expires_at`."""

    kind: CredentialKind
    sealed: str = Field(repr=False)
    key_id: str
    renewable: bool
    expires_at: datetime | None = None


class AuthorizationEnd(Message):
    """Whether the server has revoked the refresh token. `problem` says why not; it holds no secret."""

    revoked: bool
    problem: str = ""
