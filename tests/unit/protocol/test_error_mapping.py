"""No error of the token library leaves the protocol package: a bad token is a TokenError, whatever is wrong with it."""

import jwt
import jwt.exceptions
import pytest

from jelmore_protocol.tokens import Audience, TokenError, verify
from tests.support.library_errors import built, classes


@pytest.mark.parametrize(
    "kind", [*classes(jwt.exceptions, jwt.InvalidTokenError), ValueError], ids=lambda kind: kind.__name__
)
def test_what_jwt_says_of_a_token_is_ours(kind: type[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise built(kind)

    monkeypatch.setattr(jwt, "decode", fail)
    with pytest.raises(TokenError):
        verify("token", "key", session_id="s", audience=Audience.SESSION)
