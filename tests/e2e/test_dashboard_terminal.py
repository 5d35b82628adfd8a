"""The terminal's page in a real browser: keys and screen, a reload, two people, and its end."""

import re

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.support.browsing import DESK, PHONE, TABLET, page_of, picture, violations
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [PHONE, TABLET], ids=["phone", "tablet"])
async def test_a_touch_screen_has_the_keys_that_it_lacks(
    local_api: Api, browser: Browser, size: ViewportSize, scheme: str
) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, size, scheme, touch=True) as page:
        await opened(local_api, page, session_id)
        keys, screen = page.get_by_role("navigation", name="Keys"), page.locator(".xterm-rows")
        await run(page, "echo first=$((40 + 2))")
        await expect(screen).to_contain_text("first=42")
        await keys.get_by_role("button", name="Up").tap()
        await run(page, "")
        await expect(screen).to_contain_text(re.compile("first=42.*first=42", re.DOTALL))
        await run(page, "sleep 600; echo never")
        await keys.get_by_role("button", name="Ctrl").tap()
        await expect(keys.get_by_role("button", name="Ctrl")).to_have_attribute("aria-pressed", "true")
        await page.keyboard.type("c")
        await expect(keys.get_by_role("button", name="Ctrl")).to_have_attribute("aria-pressed", "false")
        await run(page, "echo ended=$?; cat -v")
        await expect(screen).to_contain_text("ended=130")
        await page.keyboard.type("c")
        for name in ("Left", "Esc", "Tab"):
            await keys.get_by_role("button", name=name).tap()
        await expect(screen).to_contain_text("c^[[D^[")
        small = "[...document.querySelectorAll('nav button')].some(each => each.getBoundingClientRect().height < 43.5)"
        assert await page.evaluate(small) is False
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert await violations(page) == []
        await picture(page, f"terminal-touch-{size['width']}-{scheme}")


async def test_a_page_without_a_session_says_so(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/ui/terminal.html#nothing")
        await expect(page.get_by_role("status")).to_contain_text("names no session")
