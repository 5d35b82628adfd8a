"""Every job of the dashboard without a mouse, and with a thumb: each control is reached, no focus is lost."""

import re
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, PHONE, confirm, page_of
from tests.support.changed_workspace import with_changes
from tests.support.stack_client import SESSIONS, Api

MOST_STOPS = 120
NAME = """() => {
    const each = document.activeElement;
    if (!each || each === document.body) return "";
    const label = each.labels?.[0];
    const words = label?.firstChild?.textContent || label?.textContent || each.textContent;
    return (each.getAttribute("aria-label") || words).trim();
}"""


async def reach(page: Page, name: str, *, back: bool = False) -> None:
    """Press Tab until the control of this name has the focus."""
    seen = []
    for _ in range(MOST_STOPS):
        found = await page.evaluate(NAME)
        if found == name:
            return
        seen.append(found)
        await page.keyboard.press("Shift+Tab" if back else "Tab")
    raise AssertionError(f"{name} was not reached: {seen}")


async def press(page: Page, name: str, key: str = "Enter", *, back: bool = False) -> None:
    await reach(page, name, back=back)
    await page.keyboard.press(key)


async def write(page: Page, name: str, text: str) -> None:
    await reach(page, name)
    await page.keyboard.type(text)


async def focused(page: Page) -> str:
    found: str = await page.evaluate(NAME)
    return found


@pytest.mark.timeout(300)
async def test_every_job_is_done_with_keys(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    async with page_of(local_api, browser, DESK) as page:
        await page.keyboard.press("n")  # create
        await expect(page.get_by_label("First prompt")).to_be_focused()
        await page.keyboard.type("demo> run touch one")
        await write(page, "Title", "By keys")
        await press(page, "Start")
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
        session_id = page.url.rsplit("/", 1)[1]
        await press(page, "Edit")  # the input, before it is allowed
        await reach(page, "Command", back=True)
        await page.keyboard.press("Control+a")
        await page.keyboard.type("touch edited")
        await press(page, "Allow")
        await expect(page.locator(".note.end")).to_have_count(1)
        assert await focused(page) == "Prompt"
        await page.keyboard.type("demo> run touch two")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Always", exact=True)).to_be_visible()
        await press(page, "Always", back=True)
        await expect(page.locator(".note.end")).to_have_count(2)
        await write(page, "Prompt", "demo> sleep 60")  # queue, edit, cancel, steer
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("button", name="Interrupt")).to_be_visible()
        await page.keyboard.type("demo> say queued")
        await page.keyboard.press("Enter")
        await press(page, "Edit the queued prompt demo> say queued", back=True)
        await page.keyboard.type("demo> say other")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Queued prompts")).to_contain_text("say other")
        await press(page, "Cancel the queued prompt demo> say other")
        await expect(page.get_by_label("Queued prompts")).to_have_count(0)
        assert await focused(page) != ""
        await write(page, "Prompt", "demo> say steered")
        await page.keyboard.press("Control+Enter")
        await expect(page.locator(".said").last).to_contain_text("steered")
        await press(page, "Pin", back=True)
        await expect(page.get_by_role("button", name="Unpin")).to_be_visible()
        assert await focused(page) == "Unpin"

        await with_changes(local_api, session_id, tmp_path)
        await press(page, "changes")  # a comment on the diff becomes the prompt
        await expect(page.locator(".line.new").first).to_be_visible()
        await reach(page, "Comment on line 1")
        for _ in range(3):
            await page.keyboard.press("ArrowDown")
        await page.keyboard.press("Enter")
        await page.keyboard.type("why?")
        await press(page, "Done")
        assert await focused(page) != ""
        await reach(page, "Prompt")
        await page.keyboard.press("Enter")
        await expect(page.locator(".user").last).to_contain_text("why?")
        await press(page, "files", back=True)
        await expect(page.get_by_role("button", name="kept.py")).to_be_visible()
        await press(page, "kept.py227 B")
        await expect(page.locator("pre.code")).to_contain_text("line three")
        await press(page, "Close")
        assert await focused(page) != ""
        for name in ("Ports", "Share"):
            await press(page, name, back=True)
            await expect(page.get_by_role("dialog", name=name)).to_be_visible()
            await press(page, "Close", back=True)
            await expect(page.get_by_role("dialog")).to_have_count(0)
            assert await focused(page) == name
        await press(page, "End")
        await page.keyboard.press("Enter")  # Cancel is first
        await expect(page.get_by_role("alertdialog")).to_have_count(0)
        assert await focused(page) == "End"
        await press(page, "terminal")
        await expect(page.get_by_role("status")).to_have_text(re.compile("You type"))
        await page.keyboard.press("Control+m")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_contain_text("By keys")
        await press(page, "Operator")
        await expect(page.get_by_role("heading", name="Health")).to_be_visible()
        await press(page, "Show what would be removed")
        await expect(page.get_by_text("nothing was removed")).to_be_visible()
        await page.keyboard.press("/")  # search, from any page
        await expect(page.get_by_label("Search")).to_be_focused()
        await page.keyboard.type("By keys", delay=60)  # the page is drawn again between two of them
        await expect(page.locator("a.row")).to_have_count(1)
        await page.keyboard.press("Tab")
        await press(page, "Keyboard shortcuts", back=True)
        await press(page, "Keys without Ctrl work outside of fields", "Space")
        await page.keyboard.press("Escape")
        await page.keyboard.press("n")
        await expect(page.get_by_label("First prompt")).to_have_count(0)
        await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"pinned": False})


@pytest.mark.timeout(300)
async def test_every_job_is_done_with_a_thumb(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    async with page_of(local_api, browser, PHONE, touch=True) as page:

        async def tap(name: str, role: Literal["button", "link"] = "button") -> None:
            await page.get_by_role(role, name=name, exact=True).first.tap()

        await tap("New", "link")
        await page.get_by_label("First prompt").fill("demo> run touch thumb")
        await tap("Start")
        await tap("Edit")
        await page.get_by_label("Command").fill("touch edited")
        await tap("Allow")
        await expect(page.locator(".note.end")).to_have_count(1)
        session_id = page.url.rsplit("/", 1)[1]
        prompt = page.get_by_label("Prompt", exact=True)
        await prompt.fill("demo> run touch two")
        await tap("Send")
        await tap("Always")
        await expect(page.locator(".note.end")).to_have_count(2)
        await prompt.fill("demo> sleep 60")
        await tap("Send")
        await expect(page.get_by_role("button", name="Interrupt")).to_be_visible()
        await prompt.fill("demo> say queued")
        await tap("Queue")
        await tap("Edit the queued prompt demo> say queued")
        await page.get_by_label("Queued prompt", exact=True).fill("demo> say other")
        await tap("Save")
        await tap("Cancel the queued prompt demo> say other")
        await prompt.fill("demo> say steered")
        await tap("Steer")
        await expect(page.locator(".said").last).to_contain_text("steered")
        await tap("Pin")
        await with_changes(local_api, session_id, tmp_path)
        await tap("changes", "link")
        await tap("Comment on added line 3")
        await page.get_by_label("Comment", exact=True).fill("why?")
        await tap("Done")
        await tap("Send")
        await expect(page.locator(".user").last).to_contain_text("why?")
        await tap("files", "link")
        await page.get_by_role("button", name="kept.py").tap()
        await tap("Close")
        for name in ("Ports", "Share"):
            await tap(name)
            await page.get_by_role("dialog", name=name).get_by_role("button", name="Close").tap()
        await tap("terminal", "link")
        await expect(page.get_by_role("status")).to_have_text(re.compile("You type"))
        await tap("← Session", "link")
        await tap("Operator", "link")
        await tap("Show what would be removed")
        await expect(page.get_by_text("nothing was removed")).to_be_visible()
        await page.get_by_role("link", name=re.compile("^Jelmore")).tap()
        await page.get_by_label("Search").fill("run touch thumb")
        await expect(page.locator("a.row")).to_have_count(1)
        await page.locator("a.row").tap()
        await tap("End")
        await confirm(page, "End it")
        await expect(page.get_by_text("The session has ended")).to_be_visible()
        await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"pinned": False})
