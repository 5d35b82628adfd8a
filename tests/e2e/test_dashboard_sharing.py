"""Sharing a session from the dashboard with somebody who has no key, in two browsers."""

import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.support.browsing import DESK, PHONE, TABLET, confirm, page_of, picture, violations
from tests.support.stack_client import Api

SIZES = {"phone": PHONE, "tablet": TABLET, "desk": DESK}


async def shared(page: Page, api: Api, session_id: str, may: str) -> str:
    """Make a link on the session's page; return it."""
    await page.goto(f"{api.stack.url}/#/s/{session_id}")
    await page.get_by_role("button", name="Share", exact=True).click()
    await page.get_by_label("Who opens it may").select_option(label=may)
    await page.get_by_label("Access for").select_option(label="1 hour")
    await page.get_by_role("button", name="Make a link").click()
    await expect(page.get_by_label("Link")).to_have_value(re.compile(r"/#/join/jli_[\w-]{43}$"))
    return await page.get_by_label("Link").input_value()


@asynccontextmanager
async def opened(
    browser: Browser, link: str, api: Api, size: ViewportSize = DESK, scheme: str = "light", name: str = "Ann"
) -> AsyncIterator[tuple[Page, list[str]]]:
    """Yield the page of somebody who opens a link, and the paths that it asks for."""
    context = await browser.new_context(viewport=size, color_scheme="dark" if scheme == "dark" else "light")
    page = await context.new_page()
    asked: list[str] = []
    faults: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(api.stack.url)))
    page.on("pageerror", lambda error: faults.append(str(error)))
    await page.goto(link)
    await page.get_by_label("Your name").fill(name)
    assert "jli_" not in page.url
    await picture(page, f"guest-join-{size['width']}-{scheme}")
    await page.get_by_role("button", name="Open the session").click()
    await expect(page.get_by_text(re.compile("you may"))).to_be_visible()
    yield page, asked
    assert faults == []
    await context.close()


async def test_who_has_the_link_watches_and_is_cut_off_within_a_second(local_api: Api, browser: Browser) -> None:
    session = await local_api.create("demo> say hello", title="Shared")
    other = await local_api.create(title="Private")
    async with page_of(local_api, browser) as owner:
        link = await shared(owner, local_api, session["id"], "watch")
        async with opened(browser, link, local_api) as (page, asked):
            await expect(page.get_by_text("[demo model] hello")).to_be_visible()
            await expect(page.get_by_role("heading", name="Shared")).to_be_visible()
            for name in ("Prompt", "Title", "API key"):
                await expect(page.get_by_label(name, exact=True)).to_have_count(0)
            await expect(page.get_by_role("button")).to_have_text(["Leave"])
            await expect(page.get_by_role("link")).to_have_count(0)
            await local_api.post(session["id"], "/input", {"input": "demo> say live"})
            await expect(page.get_by_text("[demo model] live")).to_be_visible()
            status = await page.evaluate(
                "async id => (await fetch(`/api/v1/sessions/${id}`, {headers: {'X-Jelmore-Browser': 'guest'}})).status",
                other["id"],
            )
            assert status == 401
            paths = {re.sub(r"[?].*", "", path) for path in asked if path.startswith("/api/")}
            here = f"/api/v1/sessions/{session['id']}"
            elsewhere = {path for path in paths if not path.startswith(here)}
            assert elsewhere == {
                "/api/v1/invites/open",
                f"/api/v1/sessions/{other['id']}",
            }
            assert "jli_" not in "".join(asked)
            await page.reload()  # the cookie stays
            await expect(page.get_by_text("[demo model] live")).to_be_visible()
            row = owner.get_by_role("listitem").filter(has_text="Ann")
            await expect(row).to_contain_text("may watch", timeout=15_000)
            began = time.monotonic()
            await row.get_by_role("button", name="Remove").click()
            await expect(page.get_by_role("alert")).to_contain_text("You have no access")
            assert time.monotonic() - began < 3  # of which the page's click and a busy machine are a part
            await expect(page.get_by_text("[demo model] live")).to_have_count(0)
        async with opened_late(browser, link) as page:
            await page.get_by_label("Your name").fill("Late")
            await page.get_by_role("button", name="Open the session").click()
            await expect(page.get_by_role("alert")).to_contain_text("was used or revoked")


@asynccontextmanager
async def opened_late(browser: Browser, link: str) -> AsyncIterator[Page]:
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(link)
    yield page
    await context.close()


async def test_an_approver_answers_and_an_editor_writes(local_api: Api, browser: Browser) -> None:
    session = await local_api.create("demo> run touch shared", title="Asks")
    await local_api.until(session["id"], waiting_for="permission")
    async with page_of(local_api, browser) as owner:
        link = await shared(owner, local_api, session["id"], "watch and answer")
        async with opened(browser, link, local_api, PHONE, "dark") as (page, _):
            await expect(page.get_by_label("Prompt", exact=True)).to_have_count(0)
            await page.get_by_role("button", name="Allow", exact=True).click()
            await local_api.until(session["id"], waiting_for="prompt")
        link = await again(owner, "watch, answer and write")
        async with opened(browser, link, local_api, PHONE) as (page, _):
            await page.get_by_label("Prompt", exact=True).fill("demo> say from a guest")
            await page.get_by_role("button", name="Send").click()
            await expect(page.locator(".said").get_by_text("[demo model] from a guest")).to_be_visible()
            await expect(owner.locator(".said").get_by_text("[demo model] from a guest")).to_be_visible()
            await page.get_by_role("button", name="Leave").click()
            await confirm(page, "Leave")
            await expect(page.get_by_role("alert")).to_contain_text("You have no access")


async def again(page: Page, may: str) -> str:
    """Make another link in the open dialog."""
    old = await page.get_by_label("Link").input_value()
    await page.get_by_label("Who opens it may").select_option(label=may)
    await page.get_by_role("button", name="Make a link").click()
    await expect(page.get_by_label("Link")).not_to_have_value(old)
    return await page.get_by_label("Link").input_value()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.timeout(300)
async def test_dialog_and_shared_page_can_be_read_and_used(local_api: Api, browser: Browser, scheme: str) -> None:
    session = await local_api.create("demo> run touch x", title="A session with a rather long title " * 2)
    await local_api.until(session["id"], waiting_for="permission")
    faults: list[str] = []
    for size, viewport in SIZES.items():
        async with page_of(local_api, browser, viewport, scheme) as owner:
            link = await shared(owner, local_api, session["id"], "watch, answer and write")
            await picture(owner, f"share-{size}-{scheme}")
            faults += [f"share, {size}: {each}" for each in await violations(owner)]
            assert await owner.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            async with opened(browser, link, local_api, viewport, scheme, f"Ann {size}") as (page, _):
                await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
                await picture(page, f"guest-{size}-{scheme}")
                faults += [f"guest, {size}: {each}" for each in await violations(page)]
                assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            await expect(owner.get_by_text(f"Ann {size}")).to_be_visible()
            await picture(owner, f"shared-{size}-{scheme}")
    assert not faults, "\n".join(faults)
