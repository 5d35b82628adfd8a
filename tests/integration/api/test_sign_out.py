"""Signing out: the login of the browser ends always and first, and the sign-in at the provider where it has a way."""

import httpx
import pytest

from jelmore.api.cookies import BROWSER_HEADER, LOGIN_COOKIE
from jelmore.api.sign_in import SIGN_OUT_COOKIE
from tests.integration.api.test_sign_in import URL, WRITE, Place, place, signed_in

__all__ = ["place"]
pytestmark = pytest.mark.integration
LOGOUT = "/api/v1/logout"


async def _signed_out(browser: httpx.AsyncClient) -> httpx.URL | None:
    """Sign out; return where the browser goes then, after seeing that nothing of the login is left."""
    answer = await browser.post(LOGOUT, headers=WRITE)
    assert answer.status_code == 200, answer.text
    assert LOGIN_COOKIE not in browser.cookies
    assert SIGN_OUT_COOKIE not in browser.cookies
    assert (await browser.get("/api/v1/me")).status_code == 401
    url = answer.json()["provider_url"]
    return None if url is None else httpx.URL(url)


async def test_the_sign_in_at_the_provider_ends_too(place: Place) -> None:
    async with signed_in(place) as browser:
        url = await _signed_out(browser)
        assert url is not None
        assert str(url).startswith(f"{place.provider.issuer}/logout?")
        assert url.params["post_logout_redirect_uri"] == f"{URL}/"
        assert url.params["id_token_hint"].count(".") == 2
        async with httpx.AsyncClient() as at_provider:
            assert (await at_provider.get(url)).headers["location"] == f"{URL}/"
        assert len(place.provider.ended) == 1
        assert await _signed_out(browser) is None  # a second time changes nothing


async def test_a_large_id_token_is_no_hint(place: Place) -> None:
    place.provider.claims["padding"] = "x" * 5000
    async with signed_in(place) as browser:
        url = await _signed_out(browser)
        assert url is not None
        assert "id_token_hint" not in url.params
        assert url.params["client_id"] == "jelmore"


async def test_a_cookie_that_is_no_token_is_not_passed_on(place: Place) -> None:
    async with signed_in(place) as browser:
        tampered = {**WRITE, "Cookie": f"{SIGN_OUT_COOKIE}=a.b.c&client_id=other"}
        url = httpx.URL((await browser.post(LOGOUT, headers=tampered)).json()["provider_url"])
        assert "id_token_hint" not in url.params
        assert url.params.get_list("client_id") == ["jelmore"]


@pytest.mark.parametrize("missing", [True, False])
async def test_a_provider_without_an_address_or_an_answer_keeps_nobody_signed_in(
    place: Place, monkeypatch: pytest.MonkeyPatch, *, missing: bool
) -> None:
    async with signed_in(place) as browser:
        monkeypatch.setattr(place.sign_in.provider, "_metadata", None)
        if missing:
            place.provider.document = {"end_session_endpoint": None}
        else:
            place.provider.status = 503
        assert await _signed_out(browser) is None


async def test_a_login_with_a_key_does_not_go_to_the_provider(place: Place) -> None:
    async with place.api.client() as http:
        token = (await http.post("/api/v1/login")).cookies[LOGIN_COOKIE]
    async with place.browser() as browser:
        browser.cookies.set(LOGIN_COOKIE, token, domain="test.local")
        assert await _signed_out(browser) is None


async def test_another_site_cannot_sign_anybody_out(place: Place) -> None:
    async with signed_in(place) as browser:
        for headers in ({}, {BROWSER_HEADER: "1", "Origin": "https://elsewhere.test"}):
            assert (await browser.post(LOGOUT, headers=headers)).status_code == 403
        assert (await browser.get("/api/v1/me")).status_code == 200
