"""Browsers that are not as expected: no storage or a full one, a wrong clock, forced colours, a narrow screen."""

import pytest
from playwright.async_api import Browser, Page, Route, expect

from tests.support.browsing import DESK, PHONE, page_of, violations
from tests.support.stack_client import SESSIONS, Api

FORBIDDEN = """for (const name of ["localStorage", "sessionStorage"]) {
    Object.defineProperty(window, name, {get() { throw new DOMException("denied", "SecurityError"); }});
}
Object.defineProperty(Navigator.prototype, "serviceWorker", {value: undefined});
delete Navigator.prototype.serviceWorker;"""
FULL = 'Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); };'
A_DAY_LATE = "const now = Date.now.bind(Date); Date.now = () => now() + 86_400_000 * DAYS;"
PAGES = ("/", "/new", "/operator", "/usage", "/account")


async def _with(page: Page, api: Api, script: str) -> None:
    await page.add_init_script(script)
    await page.goto("about:blank")
    await page.goto(api.stack.url)
    await expect(page.get_by_role("link", name="Jelmore")).to_be_visible()


@pytest.mark.parametrize("script", [FORBIDDEN, FULL], ids=["forbidden", "full"])
async def test_without_a_storage_drafts_live_as_long_as_the_page(local_api: Api, browser: Browser, script: str) -> None:
    session_id = (await local_api.create("demo> say hello", title="Unkept"))["id"]
    async with page_of(local_api, browser, DESK) as page:
        await _with(page, local_api, script)
        await page.get_by_role("link", name="Unkept").click()
        prompt = page.get_by_label("Prompt", exact=True)
        await prompt.fill("demo> say from memory")
        await page.get_by_role("link", name="files").click()
        await expect(page.get_by_text("The folder is empty")).to_be_visible()
        await page.get_by_role("link", name="Usage").click()
        await page.go_back()
        await expect(prompt).to_have_value("demo> say from memory")
        await prompt.press("Enter")
        await expect(page.locator(".said").last).to_contain_text("from memory")
        await page.get_by_role("link", name="New", exact=True).click()
        await page.get_by_label("Title").fill("Kept for now")
        await page.get_by_role("link", name="Jelmore").click()
        await page.get_by_role("link", name="New", exact=True).click()
        await expect(page.get_by_label("Title")).to_have_value("Kept for now")
        await local_api.until(session_id, waiting_for="prompt")


async def test_an_older_draft_does_not_come_back_when_the_storage_is_full(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create(title="Filled up"))["id"]
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        prompt = page.get_by_label("Prompt", exact=True)
        await prompt.fill("the older text")
        await page.evaluate(f"() => {{ {FULL} }}")
        await prompt.fill("the newer text")
        await page.reload()
        await expect(prompt).to_have_value("")


@pytest.mark.parametrize("days", [1, -1])
async def test_ages_are_right_when_the_clock_of_the_browser_is_wrong(
    local_api: Api, browser: Browser, days: int
) -> None:
    await local_api.create(title=f"Just now {days}")
    async with page_of(local_api, browser, DESK) as page:
        await _with(page, local_api, A_DAY_LATE.replace("DAYS", str(days)))
        age = page.locator(".listed").filter(has_text=f"Just now {days}").locator(".age")
        await expect(age).to_contain_text(" s")
        await page.goto(f"{local_api.stack.url}/#/usage")
        label = await page.get_by_role("img", name="Cost by day").get_attribute("aria-label")
        used = (await local_api.http.get("/api/v1/usage?by=day")).json()
        assert label is not None
        assert f"to {used['until']}" in label


@pytest.mark.parametrize("address", ["/", "/terminal"])
async def test_a_page_that_was_not_loaded_whole_is_loaded_again(local_api: Api, browser: Browser, address: str) -> None:
    """A browser gives up requests under way when the network changes: the page said "Loading …" for ever."""
    session_id = (await local_api.create(title="Broken off"))["id"]
    context = await browser.new_context(service_workers="block")
    page = await context.new_page()
    broken: list[str] = []

    async def break_off(route: Route) -> None:
        broken.append(route.request.url)
        await (route.continue_() if len(broken) > 1 else route.abort("internetdisconnected"))

    await page.route("**/ui/js/clock.js", break_off)
    path = address if address == "/" else f"/ui/terminal.html?session={session_id}"
    await page.goto(local_api.stack.url + path)
    await expect(page.get_by_text("could not be loaded")).to_be_visible()
    wanted = page.get_by_label("API key") if address == "/" else page.locator("#state")
    await expect(wanted).not_to_contain_text("could not be loaded", timeout=20_000)
    assert len(broken) == 2
    await context.close()


async def test_320_pixels_are_enough(local_api: Api, browser: Browser) -> None:
    """Also what a screen of 1280 pixels shows at four times its size."""
    session_id = (await local_api.create("demo> run touch narrow", title="A title that is rather long " * 3))["id"]
    await local_api.until(session_id, waiting_for="permission")
    parts = [f"/s/{session_id}/{part}" for part in ("conversation", "changes", "files", "events", "settings")]
    async with page_of(local_api, browser, {"width": 320, "height": 640}, refused="409") as page:
        for address in (*PAGES, *parts):
            await page.goto(f"{local_api.stack.url}/#{address}")
            await page.wait_for_load_state("networkidle")
            wide = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
            assert wide <= 0, f"{address} scrolls sideways by {wide}"
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        for name in ("Ports", "Share"):
            await page.get_by_role("button", name=name, exact=True).click()
            await expect(page.get_by_role("dialog", name=name)).to_be_visible()
            assert await page.evaluate("document.querySelector('dialog').scrollWidth <= innerWidth")
            await page.keyboard.press("Escape")


async def test_forced_colours_still_show_what_is_chosen(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create(title="Chosen", tags=["only"]))["id"]
    async with page_of(local_api, browser, DESK) as page:
        await page.emulate_media(forced_colors="active")
        tag = page.get_by_role("button", name="only")
        await tag.click()
        await expect(tag).to_have_css("outline-style", "solid")
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/files")
        await expect(page.locator(".tabs [aria-current]")).to_have_css("outline-style", "solid")
        await page.emulate_media(reduced_motion="reduce")
        moving = (
            "document.getAnimations().length + [...document.querySelectorAll('*')].filter("
            "each => parseFloat(getComputedStyle(each).transitionDuration) > 0).length"
        )
        assert await page.evaluate(moving) == 0


async def test_what_waits_is_counted_whatever_the_list_shows(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run touch counted", title="Waits"))["id"]
    other = (await local_api.create(title="Quiet"))["id"]
    await local_api.until(session_id, waiting_for="permission")
    async with page_of(local_api, browser, PHONE) as page:
        waits = page.get_by_role("region", name="Waits for you")
        await expect(waits.get_by_role("link", name="Waits")).to_be_visible()
        await page.get_by_label("Search").fill("Quiet")
        await expect(page.locator("a.row")).to_have_count(1)
        await expect(waits.get_by_role("link", name="Waits")).to_be_visible()
        await page.get_by_label("Search").fill("")
        await page.get_by_role("button", name="Archived sessions").click()
        await expect(page.get_by_role("heading", name="Archived sessions")).to_be_visible()
        await expect(page.locator(".brand .count")).to_have_text("1")
        await local_api.http.patch(f"{SESSIONS}/{other}", json={"archived": True})
        await expect(page.get_by_role("link", name="Quiet")).to_be_visible()
        assert await violations(page) == []
