"""The terminal's page in a real browser: keys and screen, a reload, two people, and its end."""

import re

from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.stack_client import Api


async def opened(api: Api, page: Page, session_id: str) -> None:
    """Go to the terminal from the session's page and wait until it types."""
    await page.goto(f"{api.stack.url}/#/s/{session_id}")
    await page.get_by_role("link", name="terminal").click()
    await expect(page.get_by_role("status")).to_have_text(re.compile("types?[.;]"))


async def run(page: Page, command: str) -> None:
    await page.keyboard.type(f"{command}\n")


async def test_a_shell_in_the_browser_continues_after_a_reload_and_ends(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as page:
        await opened(local_api, page, session_id)
        screen = page.locator(".xterm-rows")
        await run(page, "kept=$((6 * 7)); echo answer=$kept")
        await expect(screen).to_contain_text("answer=42")
        await picture(page, "terminal-desk-light")
        await page.reload()
        await expect(screen).to_contain_text("answer=42")
        await run(page, "echo still=$kept")
        await expect(screen).to_contain_text("still=42")
        await run(page, "exit 3")
        await expect(page.get_by_role("status")).to_contain_text("ended with code 3")
        await page.get_by_role("button", name="New shell").click()
        await run(page, "echo again=${kept:-empty}")
        await expect(screen).to_contain_text("again=empty")


async def test_two_people_share_a_terminal_and_the_phone_takes_it(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, DESK) as desk, page_of(local_api, browser, PHONE, "dark") as phone:
        await opened(local_api, desk, session_id)
        await expect(desk.get_by_role("status")).to_contain_text("You type")
        await opened(local_api, phone, session_id)
        await expect(desk.get_by_role("status")).to_contain_text("1 watch")
        await phone.get_by_role("button", name="Take the keyboard").click()
        await expect(phone.get_by_role("status")).to_contain_text("You type")
        await expect(desk.get_by_role("button", name="Take the keyboard")).to_be_visible()
        await run(phone, "echo from=$((40 + 2))")
        await expect(phone.locator(".xterm-rows")).to_contain_text("from=42")
        await expect(desk.locator(".xterm-rows")).to_contain_text("from=42")
        await picture(phone, "terminal-phone-dark")
        for page in (desk, phone):
            assert await violations(page) == []
        assert await phone.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


async def test_a_page_without_a_session_says_so(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/ui/terminal.html#nothing")
        await expect(page.get_by_role("status")).to_contain_text("names no session")
