"""Delivers events to webhooks, at least once, by one manager at a time.

A lease says which manager; claims of single deliveries make a second one harmless. Deliveries are rows: what is not
confirmed is due again, whoever dies. A slow receiver has a few calls at a time and delays nobody else.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from math import inf
from typing import Final
from uuid import UUID

import structlog
import uuid_utils.compat as uuids

from jelmore.control.event_feed import EventFeed
from jelmore.control.tasks import Tasks
from jelmore.control.web_push import WebPush
from jelmore.control.webhook_rules import (
    BAD_PUSH,
    GONE,
    NO_BROWSER,
    PUSH_RETRY_AFTER_S,
    body_of,
    retry_in_s,
    signed_headers,
    wants,
)
from jelmore.ports import Leases
from jelmore.ports.event_log import EventFilter, EventLog
from jelmore.ports.webhooks import (
    DeliveryState,
    DueDelivery,
    NewDelivery,
    Sent,
    WebhookChanges,
    WebhookSender,
    WebhookStore,
)
from jelmore.session.errors import JelmoreError

_log = structlog.get_logger(__name__)

MAX_WAITING: Final = 10_000
"""Of one webhook. Events beyond that are recorded as failed; a replay sends them."""

_LEASE: Final = "loop/webhooks"
_LEASE_S: Final = 30.0
_IDLE_WAIT_S: Final = 1.0
_WITHOUT_LEASE_S: Final = 5.0
_CLAIM_S: Final = 60.0
"""Longer than an attempt may take: after it, a delivery whose manager has died is due again."""

_AT_ONCE: Final = 32
_AT_ONCE_EACH: Final = 4
_PAGE: Final = 200
_PAGE_BYTES: Final = 4 * 1024 * 1024
_TRIM_EVERY_S: Final = 600.0
_JITTER: Final = 0.1
_OK: Final = range(200, 300)
_ALL: Final = EventFilter()


class WebhookDelivery:
    """The loop that enqueues and sends. Run it with `Tasks.keep`: it raises when PostgreSQL is unavailable."""

    def __init__(
        self,
        store: WebhookStore,
        log: EventLog,
        feed: EventFeed,
        sender: WebhookSender,
        leases: Leases,
        tasks: Tasks,
        *,
        keep_s: float,
        push: WebPush | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._log = log
        self._feed = feed
        self._sender = sender
        self._leases = leases
        self._tasks = tasks
        self._keep_s = keep_s
        self._push = push
        self._jitter = jitter
        self._sending: dict[UUID, UUID] = {}  # delivery: webhook
        self._freed = asyncio.Event()
        self._trimmed_at = -inf
        self.holding = False
        self.delivered = 0
        self.failed = 0

    async def run(self) -> None:
        """Deliver while this manager holds the lease, until cancelled."""
        try:
            while True:
                self.holding = bool(await self._leases.take([_LEASE], _LEASE_S))
                if not self.holding:
                    await asyncio.sleep(_WITHOUT_LEASE_S)
                    continue
                cursor, more = await self._enqueue()
                started = await self._start_due()
                await self._trim()
                if not more and not started:
                    await self._wait_for_work(cursor)
        finally:
            self.holding = False

    def report(self) -> dict[str, object]:
        """Return the state of the loop, for the health report."""
        counts = {"delivered": self.delivered, "failed": self.failed, "sending": len(self._sending)}
        return {"holding": self.holding, **counts}

    async def _enqueue(self) -> tuple[int, bool]:
        """Make deliveries of the next events; return the cursor, and whether more events follow it."""
        cursor = await self._store.cursor()
        page = await self._log.read(cursor, _PAGE, _ALL, max_bytes=_PAGE_BYTES)
        if page.until == cursor:
            return cursor, False
        webhooks = await self._store.active()
        room = {webhook.id: MAX_WAITING - webhook.waiting for webhook in webhooks}
        made: list[NewDelivery] = []
        for event in page.events:
            for webhook in webhooks:
                if wants(webhook, event):
                    room[webhook.id] -= 1
                    error = None if room[webhook.id] >= 0 else f"{MAX_WAITING} deliveries were waiting already"
                    made.append(NewDelivery(uuids.uuid7(), webhook.id, event, error))
        if not await self._store.enqueue(made, cursor, page.until):
            return cursor, True  # another manager did it meanwhile
        return page.until, page.more

    async def _start_due(self) -> int:
        """Start the calls that are due, as far as there is room; return how many."""
        free = _AT_ONCE - len(self._sending)
        if free <= 0:
            return 0
        self._freed.clear()
        busy = [webhook for webhook, count in Counter(self._sending.values()).items() if count >= _AT_ONCE_EACH]
        due = await self._store.claim(free, per_webhook=_AT_ONCE_EACH, for_s=_CLAIM_S, without=busy)
        for delivery in due:
            self._sending[delivery.id] = delivery.webhook_id
            self._tasks.start(f"webhook delivery {delivery.id}", self._deliver(delivery))
        return len(due)

    async def _deliver(self, delivery: DueDelivery) -> None:
        """Make one attempt and record it. Without the record it is due again after the claim has run out."""
        try:
            sent = await self._send(delivery)
            await self._finish(delivery, sent)
        except JelmoreError as error:
            _log.warning("delivery_not_recorded", delivery=str(delivery.id), error=str(error))
        finally:
            del self._sending[delivery.id]
            self._freed.set()

    async def _send(self, delivery: DueDelivery) -> Sent:
        if delivery.event is None:
            return Sent(None, "the event was deleted with its session, or its owner does not see it any more", 0.0)
        if delivery.push is not None:
            return Sent(204, None, 0.0) if self._push is None else await self._push.send(delivery)
        body = body_of(delivery.event)
        return await self._sender.send(
            delivery.url, signed_headers(delivery.secret, delivery.id, int(time.time()), body), body
        )

    async def _finish(self, delivery: DueDelivery, sent: Sent) -> None:
        if sent.status in _OK:
            self.delivered += 1
            await self._store.finish(delivery.id, DeliveryState.DELIVERED, sent, retry_in_s=0)
            return
        self.failed += 1
        if delivery.push is not None and sent.status in NO_BROWSER:
            await self._store.remove(delivery.webhook_id)
            _log.info("browser_unsubscribed", subscription=str(delivery.webhook_id), status=sent.status)
            return
        pauses = None if delivery.push is None else PUSH_RETRY_AFTER_S
        final = delivery.event is None or sent.status == GONE or (delivery.push is not None and sent.status == BAD_PUSH)
        pause_s = None if final else retry_in_s(delivery.attempt, pauses)
        state = DeliveryState.FAILED if pause_s is None else DeliveryState.PENDING
        spread = (pause_s or 0.0) * (1 + _JITTER * self._jitter())
        await self._store.finish(delivery.id, state, sent, retry_in_s=spread)
        if sent.status == GONE:
            await self._store.change(delivery.webhook_id, WebhookChanges(enabled=False))
            _log.info("webhook_disabled", webhook=str(delivery.webhook_id), why="its receiver answered 410")

    async def _wait_for_work(self, cursor: int) -> None:
        """Wait for new events or room; a second at most, as retries become due."""
        moved = asyncio.create_task(self._feed.moved(cursor), name="webhooks: new events")
        freed = asyncio.create_task(self._freed.wait(), name="webhooks: a call ended")
        try:
            await asyncio.wait({moved, freed}, timeout=_IDLE_WAIT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            moved.cancel()
            freed.cancel()
            with suppress(TimeoutError):
                await asyncio.wait({moved, freed})

    async def _trim(self) -> None:
        if self._keep_s and time.monotonic() - self._trimmed_at > _TRIM_EVERY_S:
            await self._store.trim_deliveries(self._keep_s)
            self._trimmed_at = time.monotonic()
