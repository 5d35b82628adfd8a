"""A long conversation opens at its end, also on a slow machine, stays where somebody reads, and keeps a page small."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import pytest_asyncio
from playwright.async_api import Browser, Page, expect

from jelmore.drivers.postgres_store import PostgresStore
from tests.support.browsing import DESK, page_of
from tests.support.ended_sessions import answer, ended_session
from tests.support.stack_client import Api, eventually

EVENTS = 3_000
MOST_ROWS = 200
FIRST_ON_SCREEN = """() => {
    const row = [...document.querySelectorAll("[data-seq]")].find(each => each.getBoundingClientRect().bottom > 0);
    return [Number(row.dataset.seq), row.getBoundingClientRect().top];
}"""


@pytest_asyncio.fixture
async def long_session(local_api: Api) -> AsyncIterator[UUID]:
    """An ended session with so many answers."""
    store = PostgresStore(local_api.stack.database_url())
    session_id = await ended_session(store, [answer(f"Answer {seq}\n\n- one\n- two") for seq in range(1, EVENTS + 1)])
    try:
        yield session_id
    finally:
        await store.forget(session_id)
        await store.close()


async def test_a_long_conversation_opens_at_its_end(local_api: Api, browser: Browser, long_session: UUID) -> None:
    """What arrives just before the stream ends is shown too."""
    async with page_of(local_api, browser, DESK) as page:
        tools = await page.context.new_cdp_session(page)
        await tools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
        await page.goto(f"{local_api.stack.url}/#/s/{long_session}")
        newest = page.locator(f'[data-seq="{EVENTS}"]')
        await expect(newest).to_be_in_viewport()
        await tools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
        await page.mouse.move(DESK["width"] / 2, DESK["height"] / 2)
        await page.mouse.wheel(0, -3 * DESK["height"])
        await expect(newest).not_to_be_in_viewport()
        await page.mouse.wheel(0, 10 * DESK["height"])
        await expect(newest).to_be_in_viewport()


async def test_the_page_holds_two_hundred_rows_and_a_reload_comes_back_to_the_same_one(
    local_api: Api, browser: Browser, long_session: UUID
) -> None:
    async with page_of(local_api, browser, DESK) as page:
        await page.goto(f"{local_api.stack.url}/#/s/{long_session}")
        rows = page.locator("[data-seq]")
        await expect(page.locator(f'[data-seq="{EVENTS}"]')).to_be_in_viewport()
        assert await rows.count() == MOST_ROWS
        await page.mouse.move(DESK["width"] / 2, DESK["height"] / 2)
        await _read_back(page, to=EVENTS - 1_200)  # beyond what the page begins with
        assert await rows.count() <= MOST_ROWS

        await page.wait_for_timeout(500)  # the place is kept once the scrolling has settled
        row, top = await page.evaluate(FIRST_ON_SCREEN)
        await page.reload()
        seen: list[Any] = []

        async def back() -> bool:
            seen[:] = await page.evaluate(FIRST_ON_SCREEN) if await rows.count() else []
            return bool(seen) and seen[0] == row and abs(seen[1] - top) <= 2

        await eventually(back, seconds=20, what=lambda: f"row {row} at {top}; it is {seen}")
        assert await rows.count() <= MOST_ROWS
        await page.mouse.wheel(0, 2 * DESK["height"])
        await expect(page.locator(f'[data-seq="{row + 5}"]')).to_be_attached()


async def _read_back(page: Page, *, to: int) -> None:
    """Scroll up until the first row on the screen is `to` or older; see on the way that the page stays small."""
    most = 0

    async def there() -> bool:
        nonlocal most
        await page.mouse.wheel(0, -4 * DESK["height"])
        most = max(most, await page.locator("[data-seq]").count())
        return bool((await page.evaluate(FIRST_ON_SCREEN))[0] <= to)

    await eventually(there, seconds=60, what=lambda: f"row {to}")
    assert most <= MOST_ROWS
