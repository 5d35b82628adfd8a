"""The dashboard in a browser: how soon it can be used, and a transcript of 100,000 events."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from playwright.async_api import Browser, Page
from uuid_utils.compat import uuid7

from jelmore.drivers.postgres_store import PostgresStore
from jelmore.session.output import Output
from jelmore.session.record import Detail, Session, Spec
from jelmore.session.states import Fact
from jelmore_protocol.events import EventKind
from tests.bench.table import Row
from tests.bench.world import World
from tests.support.browsing import DESK, launched
from tests.support.records import line

_EVENTS: Final = 100_000
_SHORT: Final = 100
_BATCH: Final = 2_000
_SCREENS: Final = 30
_PAINTED: Final = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"
_ROWS: Final = "() => document.querySelectorAll('[data-seq]').length"


async def pages(world: World) -> list[Row]:
    """Sign in, open the list and a short and a long transcript, and scroll up through the long one."""
    store = PostgresStore(world.stack.database_url())
    ids: list[UUID] = []
    try:
        ids += [await _session_with(store, events, world) for events in (_SHORT, _EVENTS)]
        short, long = (f"{world.stack.url}/#/s/{session_id}" for session_id in ids)
        async with launched() as browser:
            return await _measured(world, browser, short, long)
    finally:
        for session_id in ids:
            await store.forget(session_id)
        await store.close()


async def _measured(world: World, browser: Browser, short: str, long: str) -> list[Row]:
    context = await browser.new_context(viewport=DESK)
    page = await context.new_page()
    await page.goto(world.stack.url)
    await page.get_by_label("API key").fill(world.stack.api_key)
    await page.get_by_role("button", name="Sign in").click()
    await page.get_by_label("Search").wait_for()
    painted: list[float] = []
    usable: list[float] = []
    opened: dict[str, list[float]] = {short: [], long: []}
    heap: dict[str, list[float]] = {short: [], long: []}
    async for _ in world.each("pages"):
        await page.goto("about:blank")
        began = time.perf_counter()
        await page.goto(world.stack.url)
        await page.get_by_label("Search").wait_for()
        usable.append((time.perf_counter() - began) * 1000)
        painted.append(await page.evaluate(_PAINTED))
        for address, newest in ((short, _SHORT), (long, _EVENTS)):
            await page.goto("about:blank")
            began = time.perf_counter()
            await page.goto(address)
            await page.locator(f'[data-seq="{newest - 1}"]').wait_for()  # the newest event ends the tool of this row
            opened[address].append((time.perf_counter() - began) * 1000)
            heap[address].append(await _heap_mib(page))
    frames, rows = await _scrolled(page)
    await context.close()
    return [
        Row("dashboard: first contentful paint", "ms", painted),
        Row("dashboard: the list can be used", "ms", usable),
        Row(f"transcript of {_EVENTS:,} events: newest in the page", "ms", opened[long], opened[short], f"of {_SHORT}"),
        Row(f"transcript of {_EVENTS:,} events: memory of scripts", "MiB", heap[long], heap[short], f"of {_SHORT}"),
        Row("a screen further up in it, until drawn", "ms", frames),
        Row("entries in the page meanwhile", "", rows),
    ]


async def _scrolled(page: Page) -> tuple[list[float], list[float]]:
    """Turn the wheel upwards; return the time until each frame was drawn, and how many rows the page had."""
    frames: list[float] = []
    rows: list[float] = []
    await page.mouse.move(DESK["width"] / 2, DESK["height"] / 2)
    for _ in range(_SCREENS):
        began = time.perf_counter()
        await page.mouse.wheel(0, -DESK["height"])
        await page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        frames.append((time.perf_counter() - began) * 1000)
        rows.append(float(await page.evaluate(_ROWS)))
    return frames, rows


async def _heap_mib(page: Page) -> float:
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("HeapProfiler.collectGarbage")
    used: dict[str, Any] = await devtools.send("Runtime.getHeapUsage")
    await devtools.detach()
    return float(used["usedSize"]) / 2**20


async def _session_with(store: PostgresStore, events: int, world: World) -> UUID:
    """Return an ended session with a conversation of so many events."""
    now = datetime.now(UTC)
    made = Session(id=uuid7(), owner="bench", spec=Spec(), created_at=now, last_activity_at=now, since=now)
    session, _ = await store.create(made, [], most_live=10_000, idempotency=None)
    for first in range(1, events + 1, _BATCH):
        last = min(first + _BATCH - 1, events)
        outputs = [_output(seq) for seq in range(first, last + 1)]
        session = await store.save(replace(session, output_seq=last), [], outputs)
        world.progress.step(f"pages: {last}/{events} events")
    ended, drafts = session.after(Fact.EXITED, now, Detail(reason="measured"))
    await store.save(ended, drafts, [])
    return session.id


def _output(seq: int) -> Output:
    """Return one event of a conversation: every tenth a prompt, the others answers and tools in turn."""
    if seq % 10 == 1:
        return line(seq, {"id": f"input-{seq}", "input": f"prompt {seq}", "by": "bench"}, EventKind.INPUT)
    use = f"tool-{seq // 3}"
    if seq % 3 == 0:
        data = {"tool_use_id": use, "tool": "Bash", "input": {"command": f"make step-{seq}"}}
        return line(seq, data, EventKind.TOOL_USED)
    if seq % 3 == 1:
        return line(seq, {"tool_use_id": use, "failed": False, "output": "done\n" * 20}, EventKind.TOOL_ENDED)
    text = f"Answer {seq} with **some** text, `code` and a list:\n\n- one\n- two\n"
    return line(seq, {"role": "assistant", "text": text, "thinking": False}, EventKind.SAID)
