"""One attempt to sign in. Pure but for the new secret.

The browser keeps a secret in a cookie that scripts cannot read. State, nonce and PKCE verifier are digests of it under
different labels, so the server stores nothing until somebody has signed in, and none of the three reveals another.
"""

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Final, Self

ATTEMPT_S: Final = 600
"""How long a person may take at the provider."""

_CLOCKS_APART_S: Final = 60

_TEXT: Final = re.compile(r"([0-9]{1,12})\.[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt, by the text of its cookie."""

    text: str
    began_s: int

    @classmethod
    def new(cls, now_s: float) -> Self:
        """Return a new attempt."""
        began_s = int(now_s)
        return cls(f"{began_s}.{secrets.token_urlsafe(32)}", began_s)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the attempt of a cookie's text, None for a text that is none."""
        found = _TEXT.fullmatch(text)
        return cls(text, int(found[1])) if found else None

    def has_run_out(self, now_s: float) -> bool:
        """Return whether it began too long ago. Who changes the time in the cookie changes the state with it."""
        return not -_CLOCKS_APART_S <= now_s - self.began_s <= ATTEMPT_S

    @property
    def state(self) -> str:
        """The `state` of the request, which must come back."""
        return self._derived("state")

    @property
    def nonce(self) -> str:
        """The `nonce` that the id token must have."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """The PKCE code verifier: 43 characters (RFC 7636)."""
        return self._derived("verifier")

    @property
    def challenge(self) -> str:
        """The PKCE code challenge, method S256."""
        return _base64(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def digest(self) -> str:
        """What is stored of an attempt that succeeded, so that it succeeds once."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    def has_state(self, given: str) -> bool:
        """Return whether `given` is the state of this attempt."""
        return hmac.compare_digest(self.state.encode(), given.encode())

    def _derived(self, label: str) -> str:
        return _base64(hashlib.sha256(f"jelmore {label} {self.text}".encode()).digest())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
