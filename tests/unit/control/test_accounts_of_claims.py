"""Who somebody is by the claims of an id token."""

import pytest

from jelmore.control.sign_in import OidcConfig, SignInError
from jelmore.control.sign_in.claims import account_of, with_userinfo
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


def test_an_address_of_the_userinfo_is_not_verified_by_the_id_token() -> None:
    token = {"sub": "1", "groups": "devs", "email_verified": True}
    found = {"sub": "1", "email": "eve@example.org", "email_verified": False}
    with pytest.raises(SignInError, match="not verified"):
        account_of(with_userinfo(token, found, CONFIG), CONFIG)
    assert account_of(with_userinfo(token, {**found, "email_verified": True}, CONFIG), CONFIG).user_id == found["email"]


def test_what_the_id_token_says_counts_first() -> None:
    token = {"sub": "1", "email": "ann@example.org", "email_verified": True, "groups": "devs"}
    found = {"sub": "1", "email": "eve@example.org", "email_verified": False, "groups": ["ops"], "name": "Ann"}
    assert with_userinfo(token, found, CONFIG) == {**token, "name": "Ann"}
    assert with_userinfo({**token, "groups": []}, found, CONFIG)["groups"] == ["ops"]
