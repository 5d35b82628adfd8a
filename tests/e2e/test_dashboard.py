"""The dashboard in a real browser, against the whole system."""

import re
from pathlib import Path

from playwright.async_api import Browser, expect

from tests.support.browsing import DESK, PATIENCE_MS, PHONE, TABLET, confirm, page_of, picture
from tests.support.stack_client import Api

HOSTILE = (
    "# title\n<script>window.hurt=1</script><img src=x onerror=window.hurt=1>\n"
    "[a](javascript:window.hurt=1) [b](https://example.org) \u202eevil\u202c\n" + "x" * 3000
)


async def test_create_watch_and_answer_from_a_second_browser(quick_api: Api, browser: Browser) -> None:
    async with page_of(quick_api, browser) as desk, page_of(quick_api, browser, PHONE, "dark") as phone:
        await desk.get_by_role("link", name="New", exact=True).click()
        await desk.get_by_label("First prompt").fill("demo> run touch from-the-page")
        await desk.get_by_label("Title").fill("Watched")
        await picture(desk, "new-desk-light")
        await desk.get_by_role("button", name="Start").click()
        await expect(desk.get_by_role("button", name="Allow")).to_be_visible(timeout=PATIENCE_MS)
        await picture(desk, "session-asks-desk-light")

        waits = phone.get_by_role("region", name="Waits for you")
        await expect(waits.get_by_text("Watched")).to_be_visible(timeout=PATIENCE_MS)
        await picture(phone, "inbox-phone-dark")
        await waits.get_by_role("button", name="Allow", exact=True).click()
        await expect(desk.get_by_text("Bash answered")).to_be_visible(timeout=PATIENCE_MS)
        await expect(desk.get_by_role("button", name="Allow")).to_have_count(0)
        await expect(phone.get_by_role("region", name="Waits for you")).to_have_count(0, timeout=PATIENCE_MS)

        await desk.get_by_label("Prompt", exact=True).fill(
            "demo> words 2000 100"
        )  # longer than the test: it is interrupted
        await desk.keyboard.press("Enter")
        await expect(desk.locator(".growing")).to_be_visible()
        await desk.get_by_label("Prompt", exact=True).fill("demo> say queued")
        await desk.keyboard.press("Enter")
        await expect(desk.get_by_label("Queued prompts")).to_contain_text("say queued")
        await desk.get_by_label("Prompt", exact=True).fill("demo> say never")
        await desk.keyboard.press("Enter")
        never = desk.get_by_label("Queued prompts").get_by_role("listitem").filter(has_text="say never")
        await never.get_by_role("button", name="Cancel").click()
        await expect(desk.locator(".user.cancelled")).to_contain_text("say never")
        await desk.get_by_role("button", name="Interrupt").click()
        await expect(desk.locator(".said").get_by_text("[demo model] queued")).to_be_visible(timeout=PATIENCE_MS)
        await picture(desk, "session-desk-light")
        await phone.get_by_role("link", name=re.compile("Watched")).click()
        await expect(phone.get_by_text("[demo model] queued")).to_be_visible(timeout=PATIENCE_MS)
        await picture(phone, "session-phone-dark")


async def test_a_connection_that_waits_is_a_card(quick_api: Api, browser: Browser) -> None:
    network = {"mode": "none", "ask": ["127.9.9.9:9", "127.9.9.9:10", "*"]}
    session = await quick_api.create(title="Connects", allowed_tools=["Bash"], network=network)
    command = (
        "demo> run curl -sS http://127.9.9.9:9/; curl -sS http://127.9.9.9:10/; curl -sS http://example.com/; true"
    )
    await quick_api.post(session["id"], "/input", {"input": command})
    async with page_of(quick_api, browser) as page:
        waits = page.get_by_role("region", name="Waits for you")
        await expect(waits.get_by_text("Connect to 127.9.9.9:9", exact=True)).to_be_visible(timeout=PATIENCE_MS)
        await expect(waits.get_by_role("button", name="Allow once")).to_be_visible()
        await picture(page, "inbox-connection-desk-light")
        await waits.get_by_role("button", name="Allow for the session").click()
        await page.goto(f"{quick_api.stack.url}/#/s/{session['id']}")
        await expect(page.get_by_text("Connect to 127.9.9.9:10", exact=True)).to_be_visible(timeout=PATIENCE_MS)
        await page.get_by_role("button", name="Deny").click()
        await expect(page.get_by_text("Connect to example.com:80", exact=True)).to_be_visible(timeout=PATIENCE_MS)
        await page.get_by_role("button", name="Deny").click()
        await expect(page.get_by_role("button", name="Allow once")).to_have_count(0)
    assert (await quick_api.get(session["id"]))["network"]["approved"] == ["127.9.9.9:9"]


async def test_a_draft_survives_a_reload_and_a_turn_is_interrupted(quick_api: Api, browser: Browser) -> None:
    session = await quick_api.create("demo> sleep 60")
    async with page_of(quick_api, browser, TABLET) as page:
        await page.goto(f"{quick_api.stack.url}/#/s/{session['id']}")
        await page.get_by_label("Prompt", exact=True).fill("a half-written thought")
        await page.reload()
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("a half-written thought")
        await picture(page, "session-tablet-light")
        await page.get_by_role("button", name="Interrupt").click()
        await expect(page.get_by_role("button", name="Interrupt")).to_have_count(0, timeout=PATIENCE_MS)
        await page.get_by_role("button", name="End", exact=True).click()
        await confirm(page, "End it")
        await expect(page.get_by_text("The session has ended")).to_be_visible(timeout=PATIENCE_MS)


async def test_files_are_brought_in_and_read(quick_api: Api, browser: Browser, tmp_path: Path) -> None:
    session = await quick_api.create()
    (tmp_path / "note.txt").write_text("hello <b>from</b> the page")
    async with page_of(quick_api, browser) as page:
        await page.goto(f"{quick_api.stack.url}/#/s/{session['id']}")
        await page.get_by_role("link", name="files").click()
        await page.get_by_label("Upload").set_input_files(tmp_path / "note.txt")
        await page.get_by_role("button", name="note.txt").click()
        await expect(page.locator("pre.code")).to_have_text("hello <b>from</b> the page")
        await picture(page, "files-desk-light")


async def test_output_of_a_hostile_agent_is_only_text(quick_api: Api, browser: Browser) -> None:
    session = await quick_api.create()
    await quick_api.ask(session["id"], "demo> say " + HOSTILE.replace("\n", " "))
    async with page_of(quick_api, browser) as page:
        await page.goto(f"{quick_api.stack.url}/#/s/{session['id']}")
        await expect(page.locator(".said").first).to_contain_text("title", timeout=PATIENCE_MS)
        assert await page.evaluate("window.hurt") is None
        assert await page.locator(".transcript script, .transcript img").count() == 0
        links = await page.locator(".said a").evaluate_all("all => all.map(each => [each.href, each.rel])")
        assert links == [["https://example.org/", "noopener noreferrer nofollow"]]
        assert "\u202e" not in await page.locator(".said").first.inner_text()
        width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert width <= 0  # a huge line scrolls nothing sideways


async def test_the_operator_page_and_signing_out(quick_api: Api, browser: Browser) -> None:
    async with page_of(quick_api, browser, DESK, "dark") as page:
        await page.get_by_role("link", name="Operator").click()
        await expect(page.get_by_role("cell", name="ok").first).to_be_visible(timeout=PATIENCE_MS)
        await page.get_by_role("button", name="Show what would be removed").click()
        await expect(page.get_by_text("nothing was removed")).to_be_visible(timeout=PATIENCE_MS)
        await picture(page, "operator-desk-dark")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_label("API key")).to_be_visible()
        await picture(page, "login-desk-dark")


async def test_a_wrong_key_says_so(quick_api: Api, browser: Browser) -> None:
    async with page_of(quick_api, browser, PHONE, signed_in=False) as page:
        await page.get_by_label("API key").fill("wrong")
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("alert")).to_contain_text("not known")
        await picture(page, "login-phone-light")
