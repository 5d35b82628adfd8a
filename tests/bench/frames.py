"""The page of a session whose answer streams in: the time of each frame, beside the same page while nothing happens."""

import asyncio
from typing import Any, Final

from playwright.async_api import Page

from tests.bench.table import Row
from tests.bench.world import World, path_of
from tests.support.browsing import DESK, launched

_RATE: Final = 50
_LEAST_RATE: Final = 0.8 * _RATE
_MOST_S: Final = 60
_S_PER_RUN: Final = 6
_IDLE_SHARE: Final = 0.25
_START_S: Final = 30_000
_RECORD: Final = """() => {
    window.frameTimes = [];
    let before = performance.now();
    const next = (now) => {
        window.frameTimes.push(now - before);
        before = now;
        requestAnimationFrame(next);
    };
    requestAnimationFrame(next);
}"""
_TAKE: Final = "() => window.frameTimes.splice(0).slice(1)"
_WORDS: Final = "() => document.querySelector('.growing')?.textContent.split(' ').length ?? 0"


async def frames(world: World) -> list[Row]:
    """Stream 50 pieces a second into an open page for a minute; with few runs, for six seconds each.

    Raises RuntimeError when the page does not show them about as fast.
    """
    streamed_s = min(_MOST_S, world.runs * _S_PER_RUN)
    async with world.session() as created, launched() as browser:
        context = await browser.new_context(viewport=DESK)
        page = await context.new_page()
        await page.goto(world.stack.url)
        await page.get_by_label("API key").fill(world.stack.api_key)
        await page.get_by_role("button", name="Sign in").click()
        await page.get_by_label("Search").wait_for()
        await page.goto(f"{world.stack.url}/#/s/{created['id']}")
        await page.get_by_label("Prompt", exact=True).wait_for()
        await page.evaluate(_RECORD)
        idle = await _frames_of(world, page, max(3.0, streamed_s * _IDLE_SHARE), "idle")
        words = _RATE * (streamed_s + 10)
        prompt = {"input": f"demo> words {words} {1000 // _RATE}"}
        (await world.api.http.post(path_of(created, "/input"), json=prompt)).raise_for_status()
        await page.locator(".growing").wait_for(timeout=_START_S)
        before: int = await page.evaluate(_WORDS)
        streamed = await _frames_of(world, page, streamed_s, "streamed")
        shown: float = (await page.evaluate(_WORDS) - before) / streamed_s
        await context.close()
    if shown < _LEAST_RATE:
        raise RuntimeError(f"the page showed {shown:.0f} pieces a second, not {_RATE}")
    name = f"a page with {_RATE} deltas/s for {streamed_s} s"
    return [
        Row(f"{name}: a frame", "ms", streamed, idle, "an idle page"),
        Row(f"{name}: longest frame", "ms", [max(streamed)], [max(idle)], "an idle page"),
        Row(f"{name}: deltas shown", "/s", [shown]),
    ]


async def _frames_of(world: World, page: Page, seconds: float, what: str) -> list[float]:
    """Return the times of the frames of so many seconds, in ms."""
    world.progress.step(f"frames: {what} for {seconds:.0f} s")
    await page.evaluate(_TAKE)
    await asyncio.sleep(seconds)
    found: list[Any] = await page.evaluate(_TAKE)
    return [float(each) for each in found]
