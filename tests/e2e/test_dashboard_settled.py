"""Rows of a transcript that are settled stay as they are, whatever comes after them."""

from typing import Any

from playwright.async_api import Browser, Page, expect

from tests.support.browsing import DESK, page_of
from tests.support.stack_client import Api

CALLS = 30  # of a tool, each of several events
MARK = """async () => {
    const { options } = await import("/ui/vendor/preact.js");
    const kept = new Map([...document.querySelectorAll("[data-seq]")].map(each => [Number(each.dataset.seq), each]));
    window.settled = { kept, drawn: [], others: 0, changed: [] };
    const before = options.__r; // Preact calls it before it draws a component
    options.__r = (node) => {
        before?.(node);
        const { row } = node.props ?? {};
        if (row && kept.has(row.key)) window.settled.drawn.push(row.key);
        else if (row) window.settled.others += 1;
    };
    const watch = new MutationObserver((all) => window.settled.changed.push(...all.map(each => each.type)));
    for (const each of kept.values()) {
        watch.observe(each, {subtree: true, childList: true, characterData: true, attributes: true});
    }
    return kept.size;
}"""
SEEN = """() => ({
    drawn: window.settled.drawn,
    others: window.settled.others,
    changed: window.settled.changed,
    moved: [...window.settled.kept].filter(([seq, each]) =>
        document.querySelector(`[data-seq="${seq}"]`) !== each).map(([seq]) => seq),
})"""


async def test_settled_rows_are_never_drawn_again(local_api: Api, browser: Browser) -> None:
    """A hundred events later, and after a manager that was killed, they are the same nodes, and nobody touched them."""
    session_id = (await local_api.create(allowed_tools=["Bash"]))["id"]
    await local_api.ask(session_id, "demo> run echo first\ndemo> say - a list\ndemo> run echo second")
    async with page_of(local_api, browser, DESK, refused="Failed to load resource") as page:
        await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
        await expect(page.locator(".note.end")).to_have_count(1)
        for each in await page.locator("details.tool summary").all():
            await each.click()  # what a person has unfolded stays unfolded
        await page.wait_for_timeout(500)  # the answer about the queue may still settle the newest prompt
        assert await page.evaluate(MARK) >= 5
        before = (await local_api.get(session_id))["output_buffer_size"]

        await local_api.ask(session_id, "\n".join(["demo> run true"] * CALLS))
        await expect(page.locator(".note.end")).to_have_count(2)
        assert (await local_api.get(session_id))["output_buffer_size"] - before >= 100
        await _settled(page)

        local_api.stack.kill("manager")
        await local_api.until(session_id, waiting_for="prompt", seconds=60)
        await local_api.ask(session_id, "demo> say after")
        await expect(page.locator(".note.end")).to_have_count(3, timeout=60_000)
        await _settled(page)
        assert await page.locator("details.tool[open]").count() == 2


async def _settled(page: Page) -> None:
    seen: dict[str, Any] = await page.evaluate(SEEN)
    assert seen["others"] > 0, "the page no longer tells what it draws"
    assert (seen["drawn"], seen["changed"], seen["moved"]) == ([], [], [])
