"""What is changed from the list and from a session's page: pins, tags, archive, settings, edited inputs, steering."""

import asyncio
import base64

from playwright.async_api import Browser, FilePayload, Route, expect

from tests.support.browsing import DESK, PHONE, page_of
from tests.support.stack_client import SESSIONS, Api


async def test_sessions_are_pinned_tagged_archived_and_found(local_api: Api, browser: Browser) -> None:
    first = (await local_api.create(title="The first"))["id"]
    await local_api.create(title="The second", tags=["urgent"])
    async with page_of(local_api, browser, PHONE) as page:
        rows = page.get_by_role("region", name="Sessions").get_by_role("listitem")
        await expect(rows).to_have_count(2)
        await page.get_by_role("button", name="Pin The first").click()
        await expect(rows.first).to_contain_text("The first")
        assert (await local_api.get(first))["pinned"] is True
        await page.get_by_role("button", name="urgent").click()
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text("The second")
        await page.get_by_role("button", name="urgent").click()
        await page.get_by_label("Search").fill("first")
        await expect(rows).to_have_count(1)
        await page.get_by_role("link", name="The first").click()
        await page.get_by_role("button", name="Archive").click()
        await expect(page.get_by_role("button", name="Unarchive")).to_be_visible()
        await page.get_by_role("link", name="Jelmore").click()
        await page.get_by_label("Search").fill("")
        await expect(rows).to_contain_text(["The second"])
        await page.get_by_role("button", name="Archived sessions").click()
        await expect(page.get_by_role("link", name="The first")).to_be_visible()


async def test_settings_are_changed_live(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> say hello"))["id"]
    async with page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/settings")
        await expect(page.get_by_text("The agent has none.")).to_be_visible()
        await page.get_by_label("Effort").select_option("high")
        await page.get_by_label("Permissions").select_option("plan")
        await page.get_by_label("Tags").fill("one, two")
        await page.get_by_label("Model").fill("claude-other")
        await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"title": "Renamed meanwhile"})
        await expect(page.get_by_role("heading", level=1)).to_contain_text("Renamed meanwhile")
        await page.get_by_label("Model").press("Tab")
        await expect(page.locator(".facts")).to_contain_text("claude-other")
        await expect(page.locator(".facts")).to_contain_text("plan")
        await expect(page.locator(".pill")).to_contain_text("context")
        shown = await local_api.until(session_id, model="claude-other", permission_mode="plan", tags=["one", "two"])
        assert shown["options"]["effort"] == "high"


async def test_a_late_answer_does_not_replace_a_newer_one(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> say hello"))["id"]
    await local_api.until(session_id, waiting_for="prompt")
    asked, released, answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def late(route: Route) -> None:
        response = await route.fetch()
        asked.set()
        await released.wait()
        await route.fulfill(response=response)
        answered.set()

    async with page_of(local_api, browser) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        heading = page.get_by_role("heading", level=1)
        await expect(heading).to_contain_text("say hello")
        await page.route(f"**{SESSIONS}/{session_id}", late, times=1)
        async with asyncio.timeout(60):
            await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"title": "First"})
            await asked.wait()
            await local_api.http.patch(f"{SESSIONS}/{session_id}", json={"title": "Second"})
            await expect(heading).to_contain_text("Second")
            released.set()
            await answered.wait()
        await page.wait_for_timeout(500)
        await expect(heading).to_contain_text("Second")


async def test_a_command_is_edited_before_it_is_allowed(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> run echo as-asked > said; cat said"))["id"]
    async with page_of(local_api, browser, PHONE) as page:
        waits = page.get_by_role("region", name="Waits for you")
        await waits.get_by_role("button", name="Edit").click()
        await waits.get_by_label("Command").fill("echo as-edited > said; cat said")
        await waits.get_by_role("button", name="Allow", exact=True).click()
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.get_by_text("Bash answered")).to_contain_text("as-edited")


async def test_a_turn_is_steered_and_a_queued_prompt_changed(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> sleep 60"))["id"]
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.get_by_label("Prompt", exact=True).fill("demo> say first")
        await page.get_by_role("button", name="Queue").click()
        queue = page.get_by_label("Queued prompts")
        await expect(queue).to_contain_text("say first")
        await queue.get_by_role("button", name="Edit").click()
        await page.keyboard.type("demo> say changed")
        await page.keyboard.press("Enter")
        await expect(queue).to_contain_text("say changed")
        await expect(page.get_by_role("button", name="Steer")).to_have_count(0)  # others wait before it
        await queue.get_by_role("button", name="Cancel").click()
        await expect(queue).to_have_count(0)
        await page.get_by_label("Prompt", exact=True).fill("demo> say steered")
        await page.get_by_role("button", name="Steer").click()
        await expect(page.locator(".said")).to_contain_text(["[demo model] steered"])


async def test_a_session_from_a_repository_that_is_refused_names_the_field(local_api: Api, browser: Browser) -> None:
    async with page_of(local_api, browser, refused="422") as page:
        await page.goto(f"{local_api.stack.url}/#/new")
        await page.get_by_text("From a git repository").click()
        await page.get_by_label("URL").fill("https://127.0.0.1/project.git")
        await page.get_by_label("Branch, tag or commit").fill("main")
        await page.get_by_label("Commits of history").fill("1")
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("alert")).to_contain_text("repository")
        listed = await local_api.http.get(SESSIONS)
        assert [each for each in listed.json() if each["status"] not in {"failed", "terminated"}] == []


async def test_files_go_along_with_a_prompt(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        image = base64.b64decode(
            "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
        )
        files: list[FilePayload] = [
            {"name": "dot.png", "mimeType": "image/png", "buffer": image},
            {"name": "note.txt", "mimeType": "text/plain", "buffer": b"a note"},
            {"name": "other.txt", "mimeType": "text/plain", "buffer": b"another"},
        ]
        await page.get_by_label("Attach files").set_input_files(files)
        await page.get_by_role("button", name="Remove other.txt").click()
        await page.get_by_label("Prompt", exact=True).fill("demo> say seen")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".said")).to_contain_text("seen")
        await expect(page.get_by_label("Attached files")).to_have_count(0)
    sent = next(each for each in await local_api.all(session_id, "output") if each["kind"] == "input")
    assert [each["type"] for each in sent["data"]["content"]] == ["text", "image", "document"]


async def test_commands_and_files_are_completed(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create())["id"]
    files = f"{SESSIONS}/{session_id}/files"
    assert (await local_api.http.put(f"{files}/docs/notes.md", content=b"what the notes say")).status_code == 201
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        prompt = page.get_by_label("Prompt", exact=True)
        suggestions = page.get_by_role("list", name="Suggestions")
        await prompt.press_sequentially("/comp")
        await expect(suggestions).to_contain_text("compact")
        await prompt.press("Escape")
        await expect(suggestions).to_have_count(0)
        await prompt.fill("")
        await prompt.press_sequentially("demo> say read @do")
        await suggestions.get_by_role("button", name="docs/").click()
        await expect(suggestions).to_contain_text("docs/notes.md")
        await prompt.press("Tab")
        await expect(prompt).to_have_value("demo> say read @docs/notes.md ")
        async with page.expect_request(lambda request: request.url.endswith("/input")) as asked:
            await prompt.press("Enter")
        assert '"expand":true' in ((await asked.value).post_data or "")
        await expect(page.locator(".said")).to_contain_text("read")
