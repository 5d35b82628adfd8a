"""What a session's page says of budgets and many files, and what of it is read out."""

import io
import re
import tarfile

from playwright.async_api import Browser, Route, expect

from tests.support.browsing import DESK, PHONE, page_of, violations
from tests.support.stack_client import SESSIONS, Api

FILES = 30


async def test_a_used_up_budget_is_raised_where_it_is_said(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> say one", budget_usd=0.005))["id"]
    await local_api.until(session_id, waiting_for="budget")
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.get_by_text("The budget of $0.0050 is used up")).to_be_visible()
        await page.get_by_label("Prompt", exact=True).fill("demo> say two")
        await page.get_by_role("button", name="Send").click()
        await expect(page.get_by_label("Queued prompts")).to_contain_text("say two")
        assert await violations(page) == []
        field = page.get_by_label("New budget in US dollars")
        await field.fill("0.001")
        await page.get_by_role("button", name="Raise").click()
        assert await field.evaluate("each => each.validity.rangeUnderflow")  # less than what is spent is no raise
        await field.fill("1.5")
        await field.press("Enter")
        await expect(page.locator(".said").nth(1)).to_contain_text("two")
        await expect(field).to_have_count(0)
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}/settings")
        budget = page.get_by_label("Budget in US dollars")
        await expect(budget).to_have_value("1.5")
        await budget.fill("2.25")
        await budget.press("Tab")
        await local_api.until(session_id, budget_usd=2.25)


async def test_a_budget_that_no_turn_reported_is_the_session_s_own(local_api: Api, browser: Browser) -> None:
    """As when the agent ended before its turn did: the gateway knows what it used, the session's sum does not."""
    session_id = (await local_api.create("demo> say one", budget_usd=0.005))["id"]
    await local_api.until(session_id, waiting_for="budget")
    async with page_of(local_api, browser, DESK) as page:

        async def change(route: Route) -> None:
            answer = await route.fetch()
            found = await answer.json()
            if "/usage" in route.request.url:
                found["unreported"]["cost_usd"] = 0.02
            elif route.request.method == "GET":
                found["usage"]["cost_usd"] = 0.001
            await route.fulfill(response=answer, json=found)

        await page.route(f"**/api/v1/sessions/{session_id}", change)
        await page.route(f"**/api/v1/sessions/{session_id}/usage?*", change)
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await page.reload()
        await expect(page.get_by_text("The budget of $0.0050 is used up: $0.0210 were spent")).to_be_visible()
        await page.get_by_label("New budget in US dollars").fill("1")
        await page.get_by_role("button", name="Raise").click()
        await local_api.until(session_id, waiting_for="prompt")
        await page.unroute_all(behavior="ignoreErrors")


async def test_many_files_are_one_row_and_a_growing_text_is_not_read_out(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> say hello"))["id"]
    await local_api.until(session_id, waiting_for="prompt")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for number in range(FILES):
            about = tarfile.TarInfo(f"folder/file-{number}.txt")
            about.size = 1
            tar.addfile(about, io.BytesIO(b"x"))
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        transcript = page.get_by_role("region", name="Transcript")
        await expect(transcript).to_have_attribute("aria-live", "off")  # what the page begins with is not read out
        await expect(transcript).to_have_attribute("aria-live", "polite")
        url = f"{SESSIONS}/{session_id}/files/?extract=tar.gz"
        assert (await local_api.http.put(url, content=packed.getvalue())).is_success
        note = transcript.locator("details.note")
        await expect(note.locator("summary")).to_have_text(re.compile(r"(created|changed) \d\d files"))
        assert await transcript.locator(".note").count() < 5
        await note.locator("summary").click()
        await expect(note.get_by_text("created folder/file-29.txt")).to_be_visible()
        await page.get_by_label("Prompt", exact=True).fill("demo> words 100 50")
        await page.keyboard.press("Enter")
        await expect(transcript.locator(".growing")).to_have_attribute("aria-live", "off")
        await page.get_by_label("Prompt", exact=True).fill("demo> fail 400")
        await page.keyboard.press("Enter")
        await expect(transcript.locator(".note.end").last).to_contain_text("failed · ")
        assert await violations(page) == []


async def test_a_page_opens_with_the_whole_card_in_sight(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create("demo> words 300\ndemo> run touch " + "long-name-" * 30))["id"]
    await local_api.until(session_id, waiting_for="permission")
    for number in range(3):
        await local_api.post(session_id, "/input", {"input": f"demo> say {number}"})
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.get_by_label("Queued prompts").get_by_role("listitem")).to_have_count(3)
        await page.wait_for_timeout(500)
        card, composer = page.locator(".ask"), page.locator(".composer")
        above, below = await card.bounding_box(), await composer.bounding_box()
        assert above
        assert below
        assert above["y"] + above["height"] <= below["y"] + 1
