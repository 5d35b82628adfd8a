"""A phone: room for what is read, the whole width for what is written, and titles of every script."""

import pytest
from playwright.async_api import Browser, ViewportSize, expect

from tests.support.browsing import PHONE, page_of, picture
from tests.support.stack_client import Api

HEBREW = "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd (\u05e1\u05d5\u05d2\u05e8\u05d9\u05d9\u05dd)"
DIRECTION = """each => {
    const range = document.createRange();
    range.selectNodeContents(each);
    const {left, right} = each.getBoundingClientRect();
    const line = range.getClientRects()[0];
    return {starts: right - line.right < line.left - left ? "right" : "left", inside: left >= 0 && right <= innerWidth};
}"""
BOX = "each => each.getBoundingClientRect()"
SIDEWAYS = "document.documentElement.scrollWidth - innerWidth"


async def test_the_field_for_the_prompt_is_one_line_until_somebody_writes(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run touch x", title="Asks"))["id"]
    await local_api.until(session_id, waiting_for="permission")
    async with page_of(local_api, browser, PHONE, touch=True) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        composer, prompt = page.locator(".composer"), page.get_by_label("Prompt", exact=True)
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
        assert await composer.evaluate(f"{BOX}.height") < 90
        await picture(page, "composer-closed-phone")
        await prompt.tap()
        await expect(composer).to_have_class("composer open")
        assert await prompt.evaluate(f"{BOX}.width") > 330
        await prompt.fill("kept")
        await page.evaluate("document.activeElement.blur()")
        await page.wait_for_timeout(600)  # what is written stays in sight
        assert await prompt.evaluate(f"{BOX}.width") > 330
        await prompt.fill("")
        # The field closes after the tap, not under it.
        await page.get_by_role("button", name="Allow", exact=True).tap()
        await expect(page.locator(".note.end")).to_have_count(1)
        await expect(composer).to_have_class("composer ")


async def test_a_queued_prompt_is_edited_at_the_first_tap(local_api: Api, browser: Browser) -> None:
    """Nothing in the closed composer moves away from under the finger."""
    session_id = (await local_api.create("demo> sleep 60"))["id"]
    await local_api.until(session_id, status="active")
    await local_api.post(session_id, "/input", {"input": "demo> say queued"})
    for touch in (True, False):
        async with page_of(local_api, browser, PHONE, touch=touch) as page:
            await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
            edit = page.get_by_role("button", name="Edit the queued prompt")
            await (edit.tap() if touch else edit.click())
            await expect(page.get_by_label("Queued prompt", exact=True)).to_be_focused()


@pytest.mark.parametrize("width", [360, 390])
async def test_a_title_of_any_script_and_a_full_inbox_fit(local_api: Api, browser: Browser, width: int) -> None:
    title = f"{HEBREW} {'x' * 80}"
    session_id = (await local_api.create(f"demo> say {HEBREW} and English", title=title))["id"]
    shown = await local_api.until(session_id, waiting_for="prompt")
    ids = (f"{number:08x}-0000-7000-8000-000000000000" for number in range(120))
    waits = [{**shown, "id": each, "title": each[:8], "waiting_for": "question"} for each in ids]
    async with page_of(local_api, browser, ViewportSize(width=width, height=760)) as page:
        await page.route("**/api/v1/sessions?*", lambda route: route.fulfill(json=[*waits, shown]))
        await page.route("**/permissions", lambda route: route.fulfill(json={"pending": []}))
        await page.reload()
        await expect(page.locator(".count")).to_have_text("99+")
        assert await page.get_by_role("button", name="Sign out").evaluate(f"{BOX}.right") <= width
        assert await page.evaluate(SIDEWAYS) <= 0
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        heading = page.get_by_role("button", name=HEBREW)
        await expect(heading).to_be_visible()
        assert await heading.evaluate(DIRECTION) == {"starts": "right", "inside": True}
        prompt = page.get_by_label("Prompt", exact=True)
        await prompt.fill(HEBREW)
        await expect(prompt).to_have_css("unicode-bidi", "plaintext")
        await picture(page, f"hebrew-{width}")
