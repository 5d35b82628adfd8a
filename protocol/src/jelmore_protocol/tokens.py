"""Session tokens: EdDSA JWTs. The manager signs them; the runner verifies them with the public key.

A token is valid for one session and one audience, and expires.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

ALGORITHM: Final = "EdDSA"
ISSUER: Final = "jelmore"

EPOCH_MARK: Final = "#"
"""In a subject, before the epoch of an account: a change of its rights ends the tokens of earlier ones."""


class Audience(StrEnum):
    """What a token gives access to."""

    SESSION = "session"  # the session's own URL, for clients
    GATEWAY = "gateway"  # the model gateway, for the runner
    BROWSER = "browser"  # the API, for a browser that signed in with a key
    PORT = "port"  # one port of a session, for a browser on the origin of that port


class Scope(StrEnum):
    """What the bearer of a token may do."""

    READ = "read"
    WRITE = "write"


class TokenError(Exception):
    """The token is not accepted. `forbidden` is set when it is valid, but for another session or audience."""

    def __init__(self, message: str, *, forbidden: bool = False) -> None:
        super().__init__(message)
        self.forbidden = forbidden


class UnusableKeyError(Exception):
    """No token can be verified with this key."""


@dataclass(frozen=True, slots=True)
class Claims:
    """The content of a verified token."""

    session_id: str
    audience: Audience
    scopes: frozenset[Scope]
    subject: str  # the id of the API key that it was issued to
    expires_at: int  # seconds since the epoch
    generation: int = 0
    epoch: int = 0  # the session's token epoch when it was issued; a rotation raises the session's
    port: int = 0  # of the audience `port`

    @property
    def holder(self) -> str:
        """The id of the key or participant that holds the token: its subject without an epoch."""
        return self.subject.partition(EPOCH_MARK)[0]


def verify(token: str, public_key_pem: str, *, session_id: str | None, audience: Audience) -> Claims:
    """Return the claims of a valid token that has not expired. `session_id` None accepts any session.

    Raises TokenError, with `forbidden` set for a token of another session or audience, and UnusableKeyError. Reads the
    clock; no other I/O.
    """
    import jwt  # with all of cryptography: a tenth of what a runner imports, and it needs it only for its clients

    try:
        body = jwt.decode(
            token,
            public_key_pem,
            algorithms=[ALGORITHM],
            issuer=ISSUER,
            audience=audience.value,
            options={"require": ["exp", "sid", "aud", "iss", "sub"]},
        )
        claims = Claims(
            session_id=str(body["sid"]),
            audience=audience,
            scopes=frozenset(Scope(word) for word in str(body.get("scope", "")).split()),
            subject=str(body["sub"]),
            expires_at=int(body["exp"]),
            generation=int(body.get("gen", 0)),
            epoch=int(body.get("epoch", 0)),
            port=int(body.get("port", 0)),
        )
    except jwt.InvalidAudienceError:
        raise TokenError("the token is for something else", forbidden=True) from None
    except jwt.ExpiredSignatureError:
        raise TokenError("the token has expired; ask for a new one at POST …/token") from None
    except (jwt.InvalidTokenError, ValueError):
        raise TokenError("the token is not valid") from None
    except (jwt.PyJWTError, TypeError) as error:
        raise UnusableKeyError(str(error)) from None
    if session_id is not None and claims.session_id != session_id:
        raise TokenError("the token is for another session", forbidden=True)
    return claims


def sign(claims: Claims, private_key_pem: str) -> str:
    """Return the signed token for `claims`."""
    import jwt

    body: dict[str, str | int] = {
        "iss": ISSUER,
        "aud": claims.audience.value,
        "sid": claims.session_id,
        "sub": claims.subject,
        "exp": claims.expires_at,
        "scope": " ".join(sorted(scope.value for scope in claims.scopes)),
        "gen": claims.generation,
        "epoch": claims.epoch,
    }
    if claims.port:
        body["port"] = claims.port
    return jwt.encode(body, private_key_pem, algorithm=ALGORITHM)
