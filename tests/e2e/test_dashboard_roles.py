"""A page offers what the role of who looks may do, and nothing that the server would answer with 403."""

from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.changed_workspace import with_changes
from tests.support.stack_client import SESSIONS, Api

OFFERED = """() => [...document.querySelectorAll("button, input, select, textarea, a[href], summary")]
    .filter(each => each.getClientRects().length && !each.disabled && !each.matches("a.row, a.brand, .tags button"))
    .map(each => each.matches("select") ? each.closest("label").firstChild.textContent.trim()
        : each.getAttribute("aria-label") || each.textContent.trim() || each.closest("label")?.textContent.trim())"""
TABS = ["conversation", "changes", "files", "events", "settings", "terminal"]
FRAME = {"Usage", "?", "Keyboard shortcuts", "Account", "Sign out"}
"""What every page has."""


def _refused(page: Page) -> list[str]:
    """Return the list of what the server refuses to the page from now on."""
    found: list[str] = []
    page.on("response", lambda answer: found.append(answer.url) if answer.status == 403 else None)
    return found


async def _offered(page: Page) -> set[str]:
    found: list[str] = await page.evaluate(OFFERED)
    return {each.partition("\n")[0] for each in found} - FRAME


async def _signed_in(page: Page, key: str) -> None:
    await page.get_by_label("API key").fill(key)
    await page.get_by_role("button", name="Sign in").click()
    await expect(page.get_by_role("link", name="Jelmore")).to_be_visible()


@pytest.mark.timeout(240)
async def test_who_may_only_look_is_offered_nothing_else(local_api: Api, browser: Browser, tmp_path: Path) -> None:
    asking = (await local_api.create("demo> say hello", title="Asks"))["id"]
    await local_api.until(asking, waiting_for="prompt")
    await with_changes(local_api, asking, tmp_path)
    await local_api.post(asking, "/input", {"input": "demo> run touch made"})
    await local_api.until(asking, waiting_for="permission")
    await local_api.post(asking, "/input", {"input": "demo> say later"})
    over = (await local_api.create(title="Over"))["id"]
    await local_api.http.patch(f"{SESSIONS}/{over}", json={"pinned": True})
    await local_api.delete(over)
    made = await local_api.http.post("/api/v1/admin/keys", json={"name": "Looks", "role": "readonly"})
    key = made.json()["key"]
    for size, viewport, scheme in (("desk", DESK, "light"), ("phone", PHONE, "dark")):
        async with page_of(local_api, browser, viewport, scheme, signed_in=False) as page:
            refused = _refused(page)
            await _signed_in(page, key)
            waits = page.get_by_role("region", name="Waits for an answer")
            await expect(waits.get_by_text("It waits for an answer of somebody else.")).to_be_visible()
            await page.get_by_text("Ended (").click()
            await expect(page.get_by_role("img", name="pinned").first).to_be_visible()
            await picture(page, f"looks-home-{size}-{scheme}")
            offered = {each for each in await _offered(page) if not each.startswith("Ended (")}
            expected = {"Search titles, prompts and answers", "Asks", "Archived sessions"}
            assert offered - {"Notify me when a session waits"} == expected
            base = f"{local_api.stack.url}/#/s/{asking}"
            await page.goto(f"{base}/conversation")
            await expect(page.get_by_label("Queued prompts")).to_contain_text("say later")
            await expect(page.get_by_text("It waits for an answer of somebody else.")).to_be_visible()
            await picture(page, f"looks-session-{size}-{scheme}")
            # Bash is the card of the tool that asks; the files came with the repository.
            assert {each for each in await _offered(page) if not each.startswith(("Bash", "created "))} == set(TABS)
            await page.goto(f"{base}/changes")
            await expect(page.locator(".line.new").first).to_be_visible()
            offered = await _offered(page) - set(TABS)
            files = {each for each in offered if "." in each}  # each can be folded
            assert offered - files == {"Since", "Refresh", "Unfold all", "Fold all"}
            await page.goto(f"{base}/files")
            await expect(page.get_by_role("button", name="kept.py")).to_be_visible()
            offered = {each for each in await _offered(page) if "." not in each} - set(TABS)
            assert offered <= {"workspace", "Download as zip", ".git/"}, offered
            await page.goto(f"{base}/settings")
            await expect(page.get_by_text("The agent has none.")).to_be_visible()
            assert await _offered(page) == set(TABS)
            assert await violations(page) == []
            await page.goto(f"{local_api.stack.url}/#/s/{over}")
            await expect(page.get_by_text("The session has ended")).to_be_visible()
            assert await _offered(page) == set(TABS) - {"terminal"}
            for address in ("new", "operator"):
                await page.goto(f"{local_api.stack.url}/#/{address}")
                await expect(page.get_by_role("heading", name="Sessions", exact=True)).to_be_visible()
            await page.goto(f"{local_api.stack.url}/#/account")
            await expect(page.get_by_text("look at every session, and change nothing")).to_be_visible()
            assert await _offered(page) == set()
            await page.keyboard.press("n")
            assert page.url.endswith("/#/account")
            assert refused == []
    await local_api.delete(asking)


async def test_a_client_is_not_offered_the_operators_page(local_api: Api, browser: Browser) -> None:
    made = await local_api.http.post("/api/v1/admin/keys", json={"name": "Works", "role": "client"})
    async with page_of(local_api, browser, PHONE, signed_in=False, refused="409") as page:
        refused = _refused(page)
        await _signed_in(page, made.json()["key"])
        assert {"New", "Operator"} & await _offered(page) == {"New"}
        for address in ("operator", "usage", "account", "new"):
            await page.goto(f"{local_api.stack.url}/#/{address}")
            await expect(page.get_by_role("heading").first).to_be_visible()
        await page.get_by_role("button", name="Start").click()
        await expect(page.get_by_role("button", name="End", exact=True)).to_be_visible()
        for tab in TABS[:-1]:
            await page.get_by_role("link", name=tab, exact=True).click()
        assert refused == []
