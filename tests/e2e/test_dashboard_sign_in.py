"""Signing in to the dashboard at an identity provider, in a real browser."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.support.authorization_server import AuthorizationServer
from tests.support.browsing import DESK, PHONE, TABLET, confirm, picture, violations
from tests.support.http_servers import listening
from tests.support.identity_provider import CLIENT_ID, CLIENT_SECRET, IdentityProvider, identity_provider
from tests.support.stack import Stack
from tests.support.stack_quickstart import QuickStart

SIZES = {"phone": PHONE, "tablet": TABLET, "desk": DESK}


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with identity_provider() as found:
        found.claims["groups"] = ["devs"]
        found.asks = True
        yield found


@pytest_asyncio.fixture
async def stack(provider: IdentityProvider) -> AsyncIterator[Stack]:
    """A quick start whose people sign in at `provider`."""
    found = QuickStart(
        JELMORE_RUNTIME="local",
        JELMORE_OIDC_ISSUER=provider.issuer,
        JELMORE_OIDC_CLIENT_ID=CLIENT_ID,
        JELMORE_OIDC_CLIENT_SECRET=CLIENT_SECRET,
        JELMORE_OIDC_CLIENT_GROUPS="devs",
        JELMORE_OIDC_NAME="the company",
        JELMORE_OIDC_LOGIN_S="60",
    )
    try:
        await asyncio.to_thread(found.start)
        yield found
        await asyncio.to_thread(found.stop)
    finally:
        try:
            await asyncio.to_thread(found.stop)
        finally:
            found.discard()


@asynccontextmanager
async def page_at(
    stack: Stack, browser: Browser, size: ViewportSize = DESK, scheme: str = "light"
) -> AsyncIterator[Page]:
    context = await browser.new_context(viewport=size, color_scheme="dark" if scheme == "dark" else "light")
    page = await context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(stack.url)
    yield page
    assert faults == []
    await context.close()


@pytest.mark.timeout(300)
async def test_a_person_signs_in_comes_back_to_the_place_and_stays(
    stack: Stack, provider: IdentityProvider, browser: Browser
) -> None:
    async with page_at(stack, browser) as page:
        await page.goto(f"{stack.url}/#/usage")
        await page.get_by_role("link", name="Sign in with the company").click()
        await page.get_by_role("link", name="Continue as Ann").click()
        await expect(page).to_have_url(re.compile("/#/usage$"))
        await expect(page.get_by_role("heading", name="Usage")).to_be_visible()
        await expect(page.get_by_role("button", name="Sign out")).to_have_attribute("title", "Signed in as Ann")
        cookies = {each["name"]: each for each in await page.context.cookies()}
        assert cookies["jelmore_login"]["httpOnly"]
        assert cookies["jelmore_login"]["sameSite"] == "Strict"
        assert "jelmore_sign_in" not in cookies

        await page.get_by_role("link", name="New", exact=True).click()
        await page.get_by_label("Title").fill("Mine")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_label("Prompt", exact=True)).to_be_visible()
        await page.get_by_label("Prompt", exact=True).fill("half-written")
        # The sign-in ends: while the provider knows the person, it is renewed without a click, and the draft is kept.
        provider.asks = False
        here = page.url
        await page.context.clear_cookies(name="jelmore_login")
        await page.reload()
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("half-written")
        assert page.url == here

        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("link", name="Sign in with the company")).to_be_visible()
        await expect(page).to_have_url(f"{stack.url}/")
        assert [each["post_logout_redirect_uri"] for each in provider.ended] == [f"{stack.url}/"]  # there too
        assert not provider.signed_in
        assert await page.context.cookies() == []
        await page.reload()
        await expect(page.get_by_role("link", name="Sign in with the company")).to_be_visible()  # not by itself


@pytest.mark.timeout(300)
async def test_the_page_explains_a_refusal_and_the_provider_being_away(
    stack: Stack, provider: IdentityProvider, browser: Browser
) -> None:
    provider.asks = False
    faults: list[str] = []
    for scheme in ("light", "dark"):
        for size, viewport in SIZES.items():
            async with page_at(stack, browser, viewport, scheme) as page:
                await expect(page.get_by_role("link", name="Sign in with the company")).to_be_visible()
                await picture(page, f"sign-in-{size}-{scheme}")
                provider.claims["groups"] = ["strangers"]
                await page.get_by_role("link", name="Sign in with the company").click()
                await expect(page.get_by_role("alert")).to_contain_text("none of your groups")
                await picture(page, f"sign-in-refused-{size}-{scheme}")
                faults += [f"{size}, {scheme}: {each}" for each in await violations(page)]
                width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
                assert width <= 0, f"{size}, {scheme}: scrolls sideways"
    assert not faults, "\n".join(faults)
    provider.hanging = "/token"
    provider.claims["groups"] = ["devs"]
    async with page_at(stack, browser) as page:
        await page.get_by_role("link", name="Sign in with the company").click()
        await expect(page.get_by_role("alert")).to_contain_text("does not answer")
        await page.get_by_label("API key").fill(stack.api_key)  # which works all the same
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("link", name="Jelmore")).to_be_visible()


@pytest.mark.timeout(300)
async def test_a_person_sets_replaces_and_removes_their_own_model_credential(stack: Stack, browser: Browser) -> None:
    faults: list[str] = []
    for number, (size, viewport) in enumerate(SIZES.items()):
        async with page_at(stack, browser, viewport, "dark" if number % 2 else "light") as page:
            await page.get_by_role("link", name="Sign in with the company").click()
            await page.get_by_role("link", name="Continue as Ann").click()
            await page.get_by_role("link", name="Account", exact=True).click()
            card = page.get_by_role("region", name="Model credential")
            await expect(card.get_by_text("You have set none.")).to_be_visible()
            await card.get_by_label("Value").fill("two words")
            await card.get_by_role("button", name="Set", exact=True).click()
            await expect(page.get_by_role("alert")).to_contain_text("value: is one word")
            await expect(card.get_by_label("Value")).to_have_value("two words")
            secret = "sk-of-ann-123456789"
            await card.get_by_label("Value").fill(secret)
            await card.get_by_role("button", name="Set", exact=True).click()
            await expect(card.get_by_role("status")).to_contain_text("Your sessions use it")
            row = card.get_by_role("listitem")
            await expect(row).to_contain_text("changed")
            await expect(row).to_contain_text("API key")
            await picture(page, f"account-set-{size}-{'dark' if number % 2 else 'light'}")
            faults += [f"{size}: {each}" for each in await violations(page)]
            changed = await row.get_by_role("time").get_attribute("datetime")
            assert secret not in await page.content()
            assert secret not in await page.evaluate("fetch('/api/v1/credentials').then(answer => answer.text())")
            await card.get_by_label("New value").fill("sk-of-ann-987654321")
            await card.get_by_role("button", name="Replace").click()
            await expect(card.get_by_role("status")).to_contain_text("Replaced")
            await expect(row.get_by_role("time")).not_to_have_attribute("datetime", changed or "")
            await card.get_by_label("Kind").select_option(label="Token of claude setup-token")
            await expect(card.get_by_role("button", name="Set", exact=True)).to_be_visible()  # none of this kind yet
            await card.get_by_role("button", name="Remove the API key").click()
            await confirm(page, "Remove")
            await expect(card.get_by_text("You have set none.")).to_be_visible()
            found = await page.evaluate("fetch('/api/v1/credentials').then(answer => answer.json())")
            assert found == []
            width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert width <= 0, f"{size}: scrolls sideways"
    assert not faults, "\n".join(faults)


@pytest.mark.timeout(300)
async def test_a_person_authorizes_an_mcp_server_and_takes_it_back(stack: Stack, browser: Browser) -> None:
    server = AuthorizationServer()
    async with listening(server.app()) as server.port, page_at(stack, browser, PHONE) as page:
        route = {"url": f"{server.origin}/mcp", "credential": "docs", "private": True}
        async with httpx.AsyncClient(base_url=stack.url, headers={"X-API-Key": stack.api_key}) as http:
            assert (await http.put("/api/v1/admin/routes/mcp/docs", json=route)).status_code == 200
        await page.get_by_role("link", name="Sign in with the company").click()
        await page.get_by_role("link", name="Continue as Ann").click()
        await page.get_by_role("link", name="Account", exact=True).click()
        card = page.get_by_role("region", name="Servers")
        await expect(card).to_contain_text("mcp/docs")
        await expect(card).to_contain_text("127.0.0.1, no access yet")
        await card.get_by_role("button", name="Authorize mcp/docs").click()
        onward = card.get_by_role("link", name=f"Continue at 127.0.0.1:{server.port}")
        assert await violations(page) == []
        await picture(page, "account-consent-phone-light")
        async with page.expect_popup() as opened:
            await onward.click()
        popup = await opened.value
        await expect(popup.get_by_role("heading")).to_have_text("Authorized")
        await popup.close()
        await page.bring_to_front()
        await page.evaluate("dispatchEvent(new Event('focus'))")  # a browser without a window gives none
        await expect(card).to_contain_text("authorized")
        await expect(onward).to_have_count(0)
        await expect(card.get_by_role("button", name="Authorize mcp/docs")).to_have_text("Authorize again")
        found = await page.evaluate("fetch('/api/v1/credentials').then(answer => answer.json())")
        assert [(each["name"], each["owner"], each["kind"]) for each in found] == [("docs", "ann-1", "oauth")]
        await card.get_by_role("button", name="Remove the access to mcp/docs").click()
        await confirm(page, "Remove")
        await expect(card).to_contain_text("no access yet")
        assert server.revoked
