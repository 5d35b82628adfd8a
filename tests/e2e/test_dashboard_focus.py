"""The focus of somebody without a mouse stays in the page, and what goes wrong is said where they look."""

from playwright.async_api import Browser, expect

from tests.support.browsing import DESK, page_of, violations
from tests.support.stack_client import Api

FOCUSED = "document.activeElement.getAttribute('aria-label') || document.activeElement.textContent"


async def test_an_answered_card_hands_the_focus_on(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run touch one", title="Asks"))["id"]
    await local_api.until(session_id, waiting_for="permission")
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
        await page.get_by_role("button", name="Ports", exact=True).focus()
        await page.keyboard.press("Enter")
        panel = page.get_by_role("dialog", name="Ports")
        await expect(panel.get_by_text("No server of this session listens now")).to_be_visible()
        assert await violations(page) == []
        await page.keyboard.press("Escape")
        await expect(panel).to_have_count(0)
        assert await page.evaluate(FOCUSED) == "Ports"
        for _ in range(40):  # down to the card, as a keyboard goes
            await page.keyboard.press("Tab")
            if await page.evaluate(FOCUSED) == "Allow":
                break
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_have_count(0)
        assert await page.evaluate(FOCUSED) == "Prompt"


async def test_an_enter_that_is_held_answers_one_request(local_api: Api, browser: Browser) -> None:
    ids = [(await local_api.create(f"demo> run touch {name}", title=name))["id"] for name in ("first", "second")]
    for session_id in ids:
        await local_api.until(session_id, waiting_for="permission")
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/")
        allow = page.get_by_role("button", name="Allow", exact=True)
        await expect(allow).to_have_count(2)
        for _ in range(40):
            await page.keyboard.press("Tab")
            if await page.evaluate(FOCUSED) == "Allow":
                break
        await page.keyboard.down("Enter")
        await expect(allow).to_have_count(1)
        for _ in range(5):
            await page.keyboard.down("Enter")  # as a key that is held repeats
        await page.keyboard.up("Enter")
        await page.keyboard.press("Enter")  # and once more, by somebody in a hurry
        await page.wait_for_timeout(500)
        states = [(await local_api.get(session_id))["waiting_for"] for session_id in ids]
        assert states.count("permission") == 1  # the other may still work


async def test_a_key_in_the_inbox_answers_the_first_request_alone(local_api: Api, browser: Browser) -> None:
    ids = [(await local_api.create(f"demo> run touch {name}", title=name))["id"] for name in ("third", "fourth")]
    for session_id in ids:
        await local_api.until(session_id, waiting_for="permission")
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/")
        for name in ("third", "fourth"):
            await expect(page.locator(".ask", has_text=f"touch {name}")).to_be_visible()
        before = await page.locator(".ask").count()
        await page.keyboard.press("y")
        await expect(page.locator(".ask")).to_have_count(before - 1)
        await page.wait_for_timeout(500)
        assert await page.locator(".ask").count() == before - 1


async def test_what_goes_wrong_is_seen_at_the_end_of_a_long_page(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> words 3000"))["id"]
    await local_api.until(session_id, waiting_for="prompt")
    async with page_of(local_api, browser, DESK, refused="ERR_INTERNET_DISCONNECTED") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".note.end")).to_be_in_viewport()
        assert await page.evaluate("scrollY") > 0
        await page.context.set_offline(True)
        await page.get_by_label("Prompt", exact=True).fill("kept")
        await page.keyboard.press("Enter")
        alert = page.get_by_role("alert")
        await expect(alert).to_be_in_viewport()
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("kept")
        await alert.get_by_role("button", name="Dismiss").click()
        await expect(alert).to_have_count(0)
        await page.context.set_offline(False)


async def test_sizes_are_read_as_a_person_says_them(local_api: Api, browser: Browser) -> None:
    numbers = [0, 999, 1000, 666_000, 48_300_000_000, 2 * 10**15]
    async with page_of(local_api, browser, DESK) as page:
        script = 'async (all) => { const { size } = await import("/ui/js/views/parts.js"); return all.map(size); }'
        assert await page.evaluate(script, numbers) == ["0 B", "999 B", "1 KB", "666 KB", "48.3 GB", "2000 TB"]
