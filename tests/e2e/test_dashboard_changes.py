"""The Changes tab: the session's diff, and comments on its lines that become the next prompt."""

from pathlib import Path

from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, PHONE, page_of, picture
from tests.support.changed_workspace import AFTER, BEFORE, with_changes
from tests.support.stack_client import SESSIONS, Api


async def _comment(page: Page, line: str, text: str) -> None:
    await (
        page.get_by_role("article", name="kept.py").get_by_role("button", name=f"Comment on {line}", exact=True).click()
    )
    await expect(page.get_by_label("Comment", exact=True)).to_be_focused()
    await page.keyboard.type(text)


async def test_a_diff_is_read_and_commented_and_the_comments_are_the_next_prompt(
    local_api: Api, browser: Browser, tmp_path: Path
) -> None:
    session_id = await with_changes(local_api, (await local_api.create())["id"], tmp_path)
    async with page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/changes")
        await expect(page.get_by_role("status").filter(has_text="4 files")).to_contain_text("+3 -2")
        kept = page.get_by_role("article", name="kept.py")
        await expect(kept.locator(".line.new code")).to_have_text(["+line three"])
        await expect(kept.locator(".line.old code")).to_have_text(["-line 3", "-line 20"])
        await expect(page.get_by_role("article", name="new.html").locator(".line.new code")).to_have_text(
            ["+<b>bold</b>", "+⟨202e⟩evil"]
        )
        await expect(page.get_by_role("article", name="data.bin")).to_contain_text("A binary file.")
        await expect(page.get_by_role("article", name='a new "name".py')).to_contain_text("old.py →")
        await kept.get_by_role("button", name="kept.py").click()
        await expect(kept.locator(".line")).to_have_count(0)
        await kept.get_by_role("button", name="kept.py").click()

        await _comment(page, "added line 3", "use digits")
        await page.keyboard.press("Escape")
        await _comment(page, "removed line 20", "why\nis it gone?")
        await picture(page, "changes-desk-light")
        await page.get_by_role("button", name="Done").click()
        await expect(page.get_by_text("2 comments go along")).to_be_visible()
        await page.get_by_label("Prompt", exact=True).fill("Please:")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".user")).to_have_text(
            "Please:\n\nComments on the changes:\n\nkept.py, line 3:\n> +line three\nuse digits\n\n"
            "kept.py, removed line 20:\n> -line 20\nwhy\nis it gone?"
        )
        await expect(page.get_by_text("go along")).to_have_count(0)
        assert await page.evaluate("localStorage.length") == 0


async def test_drafts_of_comments_survive_a_reload_and_follow_their_line(
    local_api: Api, browser: Browser, tmp_path: Path
) -> None:
    session_id = await with_changes(local_api, (await local_api.create())["id"], tmp_path)
    async with page_of(local_api, browser, PHONE, "dark") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/changes")
        await _comment(page, "added line 3", "half a tho")
        await _comment(page, "line 5", "")
        await page.reload()
        await expect(page.locator(".comment p").first).to_have_text("half a tho")
        await expect(page.get_by_label("Comment", exact=True)).to_have_count(0)  # the empty one is forgotten
        assert await page.evaluate("document.activeElement === document.body")
        await expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
        await page.mouse.wheel(0, 5000)
        await expect(page.get_by_role("button", name="Send")).to_be_in_viewport(ratio=1)
        await picture(page, "changes-phone-dark")

        moved = ("above\n" + AFTER).encode()
        assert (await local_api.http.put(f"{SESSIONS}/{session_id}/files/kept.py", content=moved)).status_code == 200
        await page.get_by_role("button", name="Refresh").click()
        lines = page.get_by_role("article", name="kept.py").locator(".line.new + .comment")
        await expect(lines).to_contain_text("half a tho")
        await expect(page.get_by_role("article", name="kept.py").locator(".line.new code")).to_have_text(
            ["+above", "+line three"]
        )
        assert (await local_api.http.put(f"{SESSIONS}/{session_id}/files/kept.py", content=BEFORE.encode())).is_success
        await page.get_by_role("button", name="Refresh").click()
        await expect(page.get_by_text("Comments on lines that are gone")).to_be_visible()
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".user")).to_contain_text("kept.py, line 3:\n> +line three\nhalf a tho")


async def test_the_diff_is_read_again_after_a_turn(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    session_id = await with_changes(local_api, (await local_api.create())["id"], tmp_path)
    async with page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/changes")
        await expect(page.get_by_role("article", name="kept.py")).to_be_visible()
        await page.get_by_label("Prompt", exact=True).fill("demo> run echo fresh > made-by-the-agent")
        await page.get_by_label("Prompt", exact=True).press("Enter")
        await page.get_by_role("button", name="Allow", exact=True).click()
        await page.get_by_role("link", name="changes").click()
        await expect(page.get_by_role("article", name="made-by-the-agent")).to_contain_text("+fresh")


async def test_lines_are_reached_with_the_keyboard(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    session_id = await with_changes(local_api, (await local_api.create())["id"], tmp_path)
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/changes")
        kept = page.get_by_role("article", name="kept.py")
        await kept.get_by_role("button", name="kept.py").focus()
        for key in ("Tab", "ArrowDown", "ArrowDown", "ArrowDown", "Enter"):
            await page.keyboard.press(key)
        await expect(page.get_by_label("Comment", exact=True)).to_be_focused()
        await page.keyboard.type("by keys")
        await page.keyboard.press("Control+Enter")
        await expect(kept.locator(".line.new + .comment")).to_contain_text("by keys")


async def test_a_workspace_without_a_repository_says_so(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, refused="409") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/changes")
        await expect(page.get_by_role("status")).to_contain_text("not a git repository")
