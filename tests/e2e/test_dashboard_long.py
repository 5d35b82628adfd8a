"""A long conversation opens at its end, also on a slow machine, and stays where somebody reads."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from playwright.async_api import Browser, expect
from uuid_utils.compat import uuid7

from jelmore.drivers.postgres_store import PostgresStore
from jelmore.session.record import Detail, Session, Spec
from jelmore.session.states import Fact
from jelmore_protocol.events import EventKind
from tests.support.browsing import DESK, page_of
from tests.support.records import line
from tests.support.stack_client import Api

EVENTS = 3_000


async def _long_session(store: PostgresStore) -> UUID:
    """Return an ended session with so many answers."""
    now = datetime.now(UTC)
    made = Session(id=uuid7(), owner="test", spec=Spec(), created_at=now, last_activity_at=now, since=now)
    session, _ = await store.create(made, [], most_live=10_000, idempotency=None)
    outputs = [
        line(seq, {"role": "assistant", "text": f"Answer {seq}\n\n- one\n- two", "thinking": False}, EventKind.SAID)
        for seq in range(1, EVENTS + 1)
    ]
    session = await store.save(replace(session, output_seq=EVENTS), [], outputs)
    ended, drafts = session.after(Fact.EXITED, now, Detail(reason="test"))
    await store.save(ended, drafts, [])
    return session.id


async def test_a_long_conversation_opens_at_its_end(local_api: Api, browser: Browser) -> None:
    """What arrives just before the stream ends is shown too."""
    store = PostgresStore(local_api.stack.database_url())
    session_id = await _long_session(store)
    try:
        async with page_of(local_api, browser, DESK) as page:
            tools = await page.context.new_cdp_session(page)
            await tools.send("Emulation.setCPUThrottlingRate", {"rate": 4})
            await page.goto(f"{local_api.stack.url}/#/s/{session_id}")
            newest = page.locator(f'[data-seq="{EVENTS}"]')
            await expect(newest).to_be_in_viewport()
            await tools.send("Emulation.setCPUThrottlingRate", {"rate": 1})
            await page.mouse.move(DESK["width"] / 2, DESK["height"] / 2)
            await page.mouse.wheel(0, -3 * DESK["height"])
            await expect(newest).not_to_be_in_viewport()
            await page.mouse.wheel(0, 10 * DESK["height"])
            await expect(newest).to_be_in_viewport()
    finally:
        await store.forget(session_id)
        await store.close()
