"""A page that streams: it follows a session over a restart of the manager, and shows what tools gave and took."""

import base64
import re
from itertools import pairwise

from playwright.async_api import Browser, expect

from jelmore.drivers.postgres_store import PostgresStore
from jelmore_protocol.events import EventKind
from tests.support.browsing import DESK, PHONE, page_of, picture, violations
from tests.support.ended_sessions import answer, ended_session
from tests.support.stack_client import SESSIONS, Api

WORDS = 400
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
LINK = "\x1b]8;;https://bad.example\x1b\\link\x1b]8;;\x1b\\"
ESCAPES = f"\x1b[31mred\x1b[0m \x1b]0;a title\x07after {LINK} \x08\u202eevil\u202c"
GROWN = """() => {
    window.grown = [];
    new MutationObserver(() => {
        const growing = document.querySelector(".growing");
        if (growing) window.grown.push(growing.innerText);
    }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


async def test_a_page_follows_over_a_restart_of_the_manager_without_gap_or_double(
    local_api: Api, browser: Browser
) -> None:
    session_id = (await local_api.create("demo> say before"))["id"]
    await local_api.until(session_id, waiting_for="prompt")
    async with page_of(local_api, browser, DESK, refused="Failed to load resource") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".said")).to_contain_text("before")
        await page.evaluate("window.stayed = true")
        await page.evaluate(GROWN)
        await page.get_by_label("Prompt", exact=True).fill(f"demo> words {WORDS} 40\ndemo> run touch ran")
        await page.keyboard.press("Enter")
        await expect(page.locator(".growing")).to_contain_text("word20 ")
        local_api.stack.kill("manager")
        await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible(timeout=90_000)
        whole = "[demo model] " + " ".join(f"word{number}" for number in range(1, WORDS + 1))
        await expect(page.locator(".said").nth(1)).to_have_text(whole)
        await page.get_by_role("button", name="Allow", exact=True).click()
        await expect(page.locator(".note.end")).to_have_count(2)
        rows = await page.locator("[data-seq]").evaluate_all("all => all.map(each => Number(each.dataset.seq))")
        assert rows == sorted(set(rows))
        assert await page.locator(".said").count() == 3
        assert await page.evaluate("window.stayed")  # it was not loaded again
        for text in await page.evaluate("window.grown"):
            assert _no_silent_gap(text), text


def _no_silent_gap(text: str) -> bool:
    """Return whether each word follows the one before it, unless a mark says that some are missing."""
    for part in text.split("[…]"):
        numbers = [int(each) for each in re.findall(r"word(\d+)\b", part)][:-1]  # the last may be half there
        if any(after != before + 1 for before, after in pairwise(numbers)):
            return False
    return True


async def test_a_tool_card_has_the_diff_and_the_picture(local_api: Api, browser: Browser) -> None:
    session_id = (await local_api.create(allowed_tools=["Edit", "Read", "Write"]))["id"]
    for name, content in (("dot.png", PNG), ("poem.txt", b"roses are red\n")):
        assert (await local_api.http.put(f"{SESSIONS}/{session_id}/files/{name}", content=content)).status_code == 201
    prompt = "demo> read poem.txt\ndemo> edit poem.txt | roses are red | <b>violets</b> are blue\ndemo> read dot.png"
    await local_api.ask(session_id, prompt)
    async with page_of(local_api, browser, PHONE) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        edited = page.locator("details.tool").filter(has=page.get_by_text("Edit", exact=True))
        await edited.locator("summary").click()
        await expect(edited.locator(".diff .gone")).to_have_text("- roses are red\n")
        await expect(edited.locator(".diff .new")).to_have_text("+ <b>violets</b> are blue\n")
        assert await edited.locator(".diff").inner_text() == "- roses are red\n+ <b>violets</b> are blue\n"
        seen = page.locator("details.tool").filter(has_text="dot.png")
        await seen.locator("summary").click()
        image = seen.get_by_role("img", name="Output of the tool")
        await expect(image).to_be_visible()
        assert await image.evaluate("each => each.decode().then(() => each.naturalWidth)") == 1
        assert await violations(page) == []
        await picture(page, "tool-cards-phone-light")


async def test_escape_sequences_and_turned_text_do_no_harm(local_api: Api, browser: Browser) -> None:
    store = PostgresStore(local_api.stack.database_url())
    used = {"tool_use_id": "t1", "tool": "Bash", "input": {"command": f"echo {ESCAPES}"}, "parent_tool_use_id": None}
    ended = {"tool_use_id": "t1", "output": f"{ESCAPES}\nnext", "failed": False}
    events = [answer(f"said {ESCAPES}"), (EventKind.TOOL_USED, used), (EventKind.TOOL_ENDED, ended)]
    session_id = await ended_session(store, events)
    try:
        async with page_of(local_api, browser, DESK) as page:
            await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
            card = page.locator("details.tool")
            await card.locator("summary").click()
            await expect(card.locator(".output")).to_have_text("red after link ␈evil\nnext")
            # What was asked for is shown with all that it has: somebody may have to allow it.
            await expect(card.locator("pre").first).to_contain_text("echo ␛[31mred␛[0m")
            await expect(page.locator(".said")).to_contain_text("said ␛[31mred")
            text = await page.locator(".transcript").inner_text()
            assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", text)
            assert await page.title() == f"Session {str(session_id)[-8:]} · Jelmore"
            assert await page.locator(".transcript a").count() == 0
            await picture(page, "escapes-desk-light")
    finally:
        await store.forget(session_id)
        await store.close()
