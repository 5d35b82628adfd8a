"""Who somebody is by the claims of an id token."""

import pytest

from jelmore.control.sign_in import OidcConfig, SignInError
from jelmore.control.sign_in.claims import account_of
from jelmore.ports import Role

CONFIG = OidcConfig(
    "https://id.test", "c", "https://x.test/back", {Role.CLIENT: frozenset({"devs"})}, user_claim="email"
)


@pytest.mark.parametrize("verified", [False, "false", "False", None, 0])
def test_an_address_that_is_not_verified_is_nobody(verified: object) -> None:
    claims = {"sub": "1", "email": "ann@example.org", "groups": "devs", "email_verified": verified}
    with pytest.raises(SignInError, match="not verified"):
        account_of(claims, CONFIG)


@pytest.mark.parametrize("more", [{}, {"email_verified": True}, {"email_verified": "true"}])
def test_a_verified_address_is_somebody(more: dict[str, object]) -> None:
    assert account_of({"email": "ann@example.org", "groups": "devs", **more}, CONFIG).user_id == "ann@example.org"
