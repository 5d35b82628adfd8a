"""Every page of the dashboard, at three widths and in both themes: WCAG AA, nothing cut off, and targets for thumbs."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, PHONE, TABLET, page_of, picture, violations
from tests.support.changed_workspace import with_changes
from tests.support.stack_client import SESSIONS, Api

SIZES = {"phone": PHONE, "tablet": TABLET, "desk": DESK}
CUT = """() => [...document.querySelectorAll("body *")].filter(each => {
    const {left, right} = each.getBoundingClientRect();
    return right > innerWidth + 1 && left < innerWidth
        && !each.closest("pre, .hunk .title, .row .title, .tool summary, .queue, .audit");
}).map(each => each.outerHTML.slice(0, 200))"""
# Links within a text and the numbers of a diff's lines are as high as their line.
SMALL = """() => [...document.querySelectorAll("button, input, select, textarea, summary, a")].filter(each => {
    const {width, height} = each.getBoundingClientRect();
    return width > 0 && (height < 43.5 || width < 24)
        && !each.matches("p a, .markdown a, .line .number, [type=checkbox], [type=radio]");
}).map(each => each.outerHTML.slice(0, 200))"""
WORDS = (
    "A list:\n- `code`\n- **bold**, [a link](https://example.org)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n```\n"
    + "x" * 300
)


@pytest.fixture(params=["light", "dark"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@asynccontextmanager
async def _sessions(api: Api, folder: Path) -> AsyncIterator[Mapping[str, str]]:
    """Yield addresses of pages by name, with something on each."""
    busy = (await api.create(f"demo> say {WORDS}", title="Mend the parser " * 6, tags=["urgent", "parser"]))["id"]
    await api.until(busy, waiting_for="prompt")
    await with_changes(api, busy, folder)
    await api.post(busy, "/input", {"input": "demo> run touch made && " + "echo a-long-command-line " * 20})
    await api.until(busy, waiting_for="permission")
    await api.post(busy, "/input", {"input": "demo> say " + "later " * 50})
    over = (await api.create("demo> say done", base=busy))["id"]
    await api.until(over, waiting_for="prompt")
    await api.delete(over)
    archived = (await api.create(title="Put away"))["id"]
    await api.http.patch(f"{SESSIONS}/{archived}", json={"archived": True})
    parts = {part: f"/s/{busy}/{part}" for part in ("conversation", "changes", "files", "events", "settings")}
    yield {
        "home": "/",
        "new": "/new",
        **parts,
        "over": f"/s/{over}",
        "operator": "/operator",
        "usage": "/usage",
        "account": "/account",
        "missing": "/s/none",
    }


async def _seen(page: Page, name: str) -> None:
    """Wait until a page has what it is about."""
    there: dict[str, Any] = {
        "home": page.get_by_role("button", name="Allow", exact=True),
        "new": page.get_by_role("button", name="Start"),
        "conversation": page.get_by_label("Queued prompts"),
        "changes": page.locator(".line.new").first,
        "files": page.get_by_role("button", name="kept.py"),
        "events": page.get_by_text("session.created"),
        "settings": page.get_by_text("The agent has none."),
        "over": page.get_by_role("link", name="from "),
        "operator": page.get_by_role("cell", name="ok").first,
        "usage": page.get_by_role("img", name="Cost by day"),
        "account": page.get_by_role("heading", name="Model credential"),
        "missing": page.get_by_text("There is no session"),
    }
    await expect(there[name]).to_be_visible()


async def _more(page: Page, name: str) -> None:
    """Open what is folded on a page."""
    if name == "home":
        await page.get_by_text("Ended (").click()
        await page.keyboard.press("?")
    elif name == "new":
        await page.get_by_text("From a git repository").click()
    elif name == "conversation":
        for each in await page.locator(".transcript summary").all():
            await each.click()
        await page.get_by_role("button", name="Edit the queued prompt").click()
    elif name == "operator":
        await page.get_by_role("button", name="Last hour").click()
        await expect(page.get_by_role("region", name="Entries")).to_be_visible()
    elif name == "changes":
        await page.get_by_text("Push a branch").click()
        await page.get_by_role("button", name="Comment on added line 3", exact=True).click()
        await page.keyboard.type("a comment")
        await page.get_by_role("button", name="Done").click()
    elif name == "files":
        await page.get_by_role("button", name="kept.py").click()
        await expect(page.get_by_role("button", name="Close")).to_be_visible()


@pytest.mark.timeout(480)
async def test_every_page_can_be_read_and_used(local_api: Api, browser: Browser, tmp_path: Path, scheme: str) -> None:
    faults: list[str] = []
    async with _sessions(local_api, tmp_path) as pages:
        for size, viewport in SIZES.items():
            async with page_of(local_api, browser, viewport, scheme, refused="404") as page:
                for name, address in pages.items():
                    await page.goto(f"{local_api.stack.url}/#{address}")
                    await _seen(page, name)
                    await _more(page, name)
                    await picture(page, f"{name}-{size}-{scheme}")
                    where = f"{name}, {size}, {scheme}"
                    faults += [f"{where}: cut off: {each}" for each in await page.evaluate(CUT)]
                    if size == "phone":
                        faults += [f"{where}: too small: {each}" for each in await page.evaluate(SMALL)]
                    if size != "tablet":
                        faults += [f"{where}: {each}" for each in await violations(page)]
                    await page.keyboard.press("Escape")
                await page.evaluate("localStorage.clear()")
                await page.get_by_role("button", name="Sign out").click()
                await expect(page.get_by_label("API key")).to_be_visible()
                faults += [f"login, {size}, {scheme}: {each}" for each in await violations(page)]
                await picture(page, f"login-{size}-{scheme}")
    assert not faults, "\n".join(faults)
