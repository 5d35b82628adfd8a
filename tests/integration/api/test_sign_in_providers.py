"""Providers that differ: addresses that are optional, and claims that are at the userinfo endpoint only."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from jelmore.api.cookies import BROWSER_HEADER
from jelmore.drivers.http_identity_provider import HttpIdentityProvider
from jelmore.session.errors import DependencyError
from tests.integration.api.test_sign_in import WRITE, Place, place, signed_in
from tests.integration.gateway.egress_world import issue, server_context

__all__ = ["place"]
pytestmark = pytest.mark.integration


@pytest.mark.parametrize("address", ["http://other.test/logout", "nowhere", "https://[", 5, {"url": "https://x.test"}])
async def test_an_address_for_signing_out_that_cannot_be_used_refuses_nobody(place: Place, address: object) -> None:
    place.provider.document = {"end_session_endpoint": address}
    with capture_logs() as logs:
        async with signed_in(place) as browser:
            out = (await browser.post("/api/v1/logout", headers=WRITE)).json()
    assert out == {"provider_url": None}
    assert [each["field"] for each in logs if each["event"] == "provider_address_ignored"] == ["end_session_endpoint"]


async def test_an_address_of_the_userinfo_that_cannot_be_used_is_not_asked(place: Place) -> None:
    place.provider.document = {"userinfo_endpoint": "http://other.test/me"}
    assert await place.outcome() == "done"  # the groups are in the id token
    del place.provider.claims["groups"]
    assert await place.outcome() == "no_group"


async def _user_id(place: Place, user_claim: str) -> str:
    place.sign_in.config = replace(place.config, user_claim=user_claim)
    async with signed_in(place) as browser:
        found: str = (await browser.get("/api/v1/me", headers={BROWSER_HEADER: "1"})).json()["user_id"]
    return found


async def test_who_somebody_is_may_come_from_the_userinfo_endpoint(place: Place) -> None:
    place.provider.userinfo = {"sub": "ann-1", "email": "ann@example.org", "groups": ["ops"]}
    assert await _user_id(place, "email") == "ann@example.org"
    async with signed_in(place) as browser:
        assert (await browser.get("/api/v1/me")).json()["role"] == "client"  # groups of the id token count first
    place.provider.claims["email"] = "ann@id-token.example.org"
    assert await _user_id(place, "email") == "ann@id-token.example.org"


@pytest.mark.parametrize(
    ("userinfo", "word"), [({}, "provider_misconfigured"), ({"sub": "eve-1", "email": "eve@example.org"}, "bad_token")]
)
async def test_a_userinfo_without_json_or_about_another_person_is_nobody(
    place: Place, userinfo: dict[str, Any], word: str
) -> None:
    place.sign_in.config = replace(place.config, user_claim="email")
    place.provider.userinfo = userinfo
    assert await place.outcome() == word


async def test_what_somebody_is_called_is_not_worth_a_request(place: Place) -> None:
    assert await place.outcome() == "done"
    assert "/userinfo" not in place.provider.requests


async def test_a_provider_whose_certificate_is_not_trusted_is_away_and_the_log_says_what_to_do(
    tmp_path: Path,
) -> None:
    certificate = issue(tmp_path, "localhost")
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", ssl=server_context(certificate))
    http = HttpIdentityProvider(timeout_s=5)
    with pytest.raises(
        DependencyError, match=r"not trusted \(self.signed certificate\); JELMORE_CA_FILE .*SSL_CERT_FILE"
    ):
        await http.call(f"https://localhost:{server.sockets[0].getsockname()[1]}/")
    await http.close()
    server.close()
