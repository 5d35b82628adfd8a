"""What is changed where it stands, and the page's own questions in place of the browser's dialogs."""

from playwright.async_api import Browser, expect

from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.stack_client import SESSIONS, Api

QUEUES = """() => {
    window.queuedBeforeItsRow = [];
    const rows = document.querySelectorAll(".user").length;
    new MutationObserver(() => {
        const text = document.querySelector(".queue .text")?.innerText;
        if (text && document.querySelectorAll(".user").length === rows) window.queuedBeforeItsRow.push(text);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


async def test_a_queued_prompt_is_changed_with_the_keyboard_alone(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> sleep 60"))["id"]
    await local_api.post(session_id, "/input", {"input": "demo> say first"})
    await local_api.post(session_id, "/input", {"input": "demo> say second"})
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        edit = page.get_by_role("button", name="Edit the queued prompt demo> say second")
        await edit.focus()
        await page.keyboard.press("Enter")
        field = page.get_by_role("textbox", name="Queued prompt")
        await expect(field).to_be_focused()
        await expect(field).to_have_value("demo> say second")
        assert await violations(page) == []
        await picture(page, "queue-edit-desk-light")
        await page.keyboard.type("thrown away")
        await page.keyboard.press("Escape")
        await expect(field).to_have_count(0)
        await expect(edit).to_be_focused()
        await expect(
            page.get_by_role("button", name="Interrupt")
        ).to_be_visible()  # Escape ended the change, not the turn
        await page.keyboard.press("Enter")
        await page.keyboard.type("demo> say changed")
        await page.keyboard.press("Shift+Enter")
        await page.keyboard.type("in two lines")
        await page.keyboard.press("Enter")
        await expect(page.get_by_label("Queued prompts")).to_contain_text("say changed")
        await expect(page.get_by_role("button", name="Edit the queued prompt demo> say changed")).to_be_focused()
        queued = (await local_api.http.get(f"{SESSIONS}/{session_id}/queue")).json()["inputs"]
        assert [each["input"] for each in queued] == ["demo> say first", "demo> say changed\nin two lines"]
        assert (await local_api.get(session_id))["status"] == "active"


async def test_what_was_written_is_kept_when_the_agent_begins_meanwhile(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> sleep 60"))["id"]
    await local_api.post(session_id, "/input", {"input": "demo> say first"})
    async with page_of(local_api, browser, PHONE, "dark") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.get_by_label("Prompt", exact=True).fill("a draft")
        await page.get_by_role("button", name="Edit the queued prompt").click()
        await page.keyboard.type("written at length")
        await picture(page, "queue-edit-phone-dark")
        await local_api.post(session_id, "/interrupt", {})
        await expect(page.get_by_role("alert")).to_contain_text("Your text is in the field below")
        await expect(page.get_by_label("Prompt", exact=True)).to_have_value("a draft\n\nwritten at length")


async def test_a_title_is_changed_where_it_stands(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create(title="Before"))["id"]
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.get_by_role("button", name="Before").click()
        await expect(page.get_by_role("textbox", name="Title")).to_be_focused()
        await page.keyboard.type("After")
        await picture(page, "title-edit-phone-light")
        await page.get_by_role("button", name="Save").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("After")
        await expect(page.get_by_role("button", name="After")).to_be_focused()
        assert (await local_api.get(session_id))["title"] == "After"


async def test_a_question_of_the_page_can_be_left_and_gives_the_focus_back(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run touch made"))["id"]
    await local_api.until(session_id, waiting_for="permission")
    for size, viewport, scheme in (("desk", DESK, "light"), ("phone", PHONE, "dark")):
        async with page_of(local_api, browser, viewport, scheme) as page:
            await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
            await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()
            end = page.get_by_role("button", name="End", exact=True)
            await end.click()
            question = page.get_by_role("alertdialog", name="End this session?")
            await expect(question).to_have_accessible_description("Its output and workspace stay.")
            await expect(question.get_by_role("button", name="Cancel")).to_be_focused()
            assert await violations(page) == []
            await picture(page, f"question-{size}-{scheme}")
            await page.keyboard.press("y")  # the page's own keys do not work behind it
            await page.keyboard.press("Escape")
            await expect(question).to_have_count(0)
            await expect(end).to_be_focused()
            assert (await local_api.get(session_id))["waiting_for"] == "permission"
            await page.keyboard.press("Enter")
            await question.get_by_role("button", name="Cancel").click()
            assert (await local_api.get(session_id))["status"] == "waiting_input"


async def test_a_prompt_that_waits_for_its_session_is_in_the_queue(local_api: Api, browser: Browser) -> None:
    rest = {"idle_after_s": 0.2, "hibernate_after_s": 0.4, "timeout_minutes": 0}
    session_id = (await local_api.create("demo> say first", **rest))["id"]
    await local_api.until(session_id, presence="hibernated", seconds=60)
    async with page_of(local_api, browser, PHONE) as writer, page_of(local_api, browser, DESK) as other:
        for page in (writer, other):
            await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
            await expect(page.locator(".said")).to_contain_text("first")
            await page.evaluate(QUEUES)
        await writer.get_by_label("Prompt", exact=True).fill("demo> say woken")
        await writer.get_by_role("button", name="Send").click()
        for page in (writer, other):
            await expect(page.locator(".said").last).to_contain_text("woken")
            await expect(page.get_by_label("Queued prompts")).to_have_count(0)
            # Seen before the agent had it: its row comes with the output that records it.
            assert "demo> say woken" in await page.evaluate("window.queuedBeforeItsRow")
