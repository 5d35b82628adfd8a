"""The delivery of webhooks: retries in time, few calls per receiver, nothing lost with a manager, one holder."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from jelmore.control import webhook_delivery, webhook_rules
from jelmore.control.event_feed import EventFeed
from jelmore.control.requests import Caller
from jelmore.control.tasks import Tasks
from jelmore.control.webhook_delivery import WebhookDelivery
from jelmore.control.webhook_rules import RETRY_AFTER_S
from jelmore.control.webhooks import MAX_WEBHOOKS, WebhookRequest, Webhooks
from jelmore.ports import ApiKey, Role
from jelmore.ports.webhooks import (
    Delivery,
    DeliveryState,
    DueDelivery,
    NewDelivery,
    Sent,
    Webhook,
    WebhookChanges,
)
from jelmore.session.errors import CapacityError, DependencyError, ForbiddenError, InvalidRequestError, NotFoundError
from tests.fakes.memory_event_log import MemoryEventLog
from tests.fakes.memory_store import MemoryStore
from tests.support.records import MOMENT, created, draft

ALICE = Caller(ApiKey("alice", "alice", Role.CLIENT, MOMENT))
BOB = Caller(ApiKey("bob", "bob", Role.CLIENT, MOMENT))


@dataclass
class Row:
    """A stored delivery. `due` is a time of the loop."""

    new: NewDelivery
    state: DeliveryState
    due: float = 0.0
    attempts: int = 0
    outcomes: list[Sent] = field(default_factory=list)


class MemoryWebhooks:
    """The `WebhookStore` port in memory, on the time of the event loop."""

    def __init__(self) -> None:
        self.webhooks: dict[UUID, Webhook] = {}
        self.rows: dict[UUID, Row] = {}
        self.position: int = 0
        self.trimmed = 0
        self.finish_fails = 0

    async def add(self, webhook: Webhook, *, most: int) -> Webhook | None:
        if sum(each.owner == webhook.owner for each in self.webhooks.values()) >= most:
            return None
        self.webhooks[webhook.id] = webhook
        return webhook

    async def add_browser(self, webhook: Webhook, *, most: int) -> Webhook | None:
        return await self.add(webhook, most=most)

    async def remove_browser(self, webhook_id: UUID, owner: str) -> None:
        if webhook_id in self.webhooks and self.webhooks[webhook_id].owner == owner:
            del self.webhooks[webhook_id]

    async def push_key(self, new: str) -> str:
        return new

    async def list(self, owner: str | None) -> Sequence[Webhook]:
        return [each for each in self.webhooks.values() if owner in {None, each.owner}]

    async def one(self, webhook_id: UUID, owner: str | None) -> Webhook | None:
        found = self.webhooks.get(webhook_id)
        return found if found and owner in {None, found.owner} else None

    async def change(self, webhook_id: UUID, changes: WebhookChanges) -> Webhook | None:
        if webhook_id not in self.webhooks:
            return None
        names = ("url", "secret", "types", "waiting_for", "description", "enabled")
        given: dict[str, Any] = {name: value for name in names if (value := getattr(changes, name)) is not None}
        self.webhooks[webhook_id] = replace(self.webhooks[webhook_id], **given)
        return self.webhooks[webhook_id]

    async def remove(self, webhook_id: UUID) -> None:
        self.webhooks.pop(webhook_id, None)

    async def active(self) -> Sequence[Webhook]:
        def waiting(webhook: Webhook) -> int:
            rows = [row for row in self.rows.values() if row.new.webhook_id == webhook.id]
            return sum(row.state is DeliveryState.PENDING for row in rows)

        return [replace(each, waiting=waiting(each)) for each in self.webhooks.values() if each.enabled]

    async def cursor(self) -> int:
        return self.position

    async def enqueue(self, deliveries: Sequence[NewDelivery], after: int, until: int) -> bool:
        if self.position != after:
            return False
        self.position = until
        for each in deliveries:
            state = DeliveryState.FAILED if each.error else DeliveryState.PENDING
            self.rows[each.id] = Row(each, state)
        return True

    async def claim(
        self, limit: int, *, per_webhook: int, for_s: float, without: Sequence[UUID]
    ) -> Sequence[DueDelivery]:
        now, taken = asyncio.get_running_loop().time(), list[DueDelivery]()
        for delivery_id, row in self.rows.items():
            webhook = self.webhooks[row.new.webhook_id]
            mine = sum(each.webhook_id == webhook.id for each in taken)
            if (
                row.state is DeliveryState.PENDING
                and row.due <= now
                and webhook.enabled
                and webhook.id not in without
                and mine < per_webhook
                and len(taken) < limit
            ):
                row.attempts += 1
                row.due = now + for_s
                taken.append(
                    DueDelivery(delivery_id, webhook.id, row.attempts, webhook.url, webhook.secret, row.new.event)
                )
        return taken

    async def finish(self, delivery_id: UUID, state: DeliveryState, sent: Sent, *, retry_in_s: float) -> None:
        if self.finish_fails:
            self.finish_fails -= 1
            raise DependencyError("postgres", "away")
        row = self.rows[delivery_id]
        row.state, row.due = state, asyncio.get_running_loop().time() + retry_in_s
        row.outcomes.append(sent)

    async def deliveries(
        self, webhook_id: UUID, state: DeliveryState | None, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        return [
            Delivery(
                id=delivery_id,
                position=row.new.event.position,
                session_id=row.new.event.event.session_id,
                seq=row.new.event.event.seq,
                type=row.new.event.event.type,
                state=row.state,
                attempts=row.attempts,
                next_at=MOMENT,
                created_at=MOMENT,
                sent_at=None,
                status=None,
                error=None,
                duration_ms=None,
            )
            for delivery_id, row in self.rows.items()
            if row.new.webhook_id == webhook_id and state in {None, row.state}
        ][:limit]

    async def again(self, webhook_id: UUID, delivery_id: UUID | None) -> int:
        found = [
            row
            for each, row in self.rows.items()
            if row.new.webhook_id == webhook_id
            and (row.state is DeliveryState.FAILED if delivery_id is None else each == delivery_id)
        ]
        for row in found:
            row.state, row.attempts, row.due = DeliveryState.PENDING, 0, 0.0
        return len(found)

    async def trim_deliveries(self, max_age_s: float) -> None:
        self.trimmed += 1


class Sender:
    """The `WebhookSender` port: answers as configured, and records when it was called."""

    def __init__(self) -> None:
        self.status: dict[str, int | None] = {}
        self.calls: list[tuple[float, str, str]] = []
        self.hold: dict[str, asyncio.Event] = {}
        self.at_once = self.most_at_once = 0

    def check(self, url: str) -> None:
        if not url.startswith("https://"):
            raise InvalidRequestError("url: must begin with https://")

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        self.calls.append((asyncio.get_running_loop().time(), url, headers["webhook-id"]))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if url in self.hold:
                await self.hold[url].wait()
        finally:
            self.at_once -= 1
        status = self.status.get(url, 204)
        return Sent(status, None if status == 204 else f"answered {status}", 1.0)

    async def close(self) -> None:
        pass


class Leases:
    """A lease that is ours or somebody else's."""

    def __init__(self) -> None:
        self.ours = True

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        return frozenset(names if self.ours else ())


@dataclass
class Delivering:
    """A manager that delivers."""

    store: MemoryStore
    webhooks: MemoryWebhooks
    sender: Sender
    leases: Any
    delivery: WebhookDelivery
    owner: Webhooks

    async def add(self, url: str = "https://a", caller: Caller = ALICE, **more: Any) -> Webhook:
        return await self.owner.create(caller, WebhookRequest(url=url, **more))

    def states(self) -> list[str]:
        return [row.state.value for row in self.webhooks.rows.values()]


@pytest_asyncio.fixture
async def world() -> AsyncIterator[Delivering]:
    store, webhooks, sender, tasks = MemoryStore(), MemoryWebhooks(), Sender(), Tasks()
    leases: Any = Leases()
    log = MemoryEventLog(store)
    feed = EventFeed(log)
    delivery = WebhookDelivery(
        webhooks,
        log,
        feed,
        sender,
        leases,
        tasks,
        keep_s=60,
        jitter=lambda: 0,
    )
    tasks.keep("feed", feed.run)
    tasks.keep("delivery", delivery.run)
    yield Delivering(store, webhooks, sender, leases, delivery, Webhooks(webhooks, sender))
    await tasks.close()


async def settled(world: Delivering, seconds: float = 3.0) -> None:
    await asyncio.sleep(seconds)


async def test_an_event_is_delivered_once_to_those_who_want_it(world: Delivering) -> None:
    await world.add("https://a")
    await world.add("https://b", types=frozenset({"no.such"}))
    await world.add("https://c", BOB)
    await created(world.store, draft(1), draft(2), owner="alice")
    await settled(world)
    assert [url for _, url, _ in world.sender.calls] == ["https://a"] * 2
    assert world.states() == ["delivered"] * 2
    assert world.delivery.report() == {"holding": True, "delivered": 2, "failed": 0, "sending": 0}
    assert world.webhooks.trimmed == 1


async def test_a_failed_call_is_tried_again_later_and_later_until_it_is_given_up(
    world: Delivering, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses_s = RETRY_AFTER_S[:4]
    monkeypatch.setattr(webhook_rules, "RETRY_AFTER_S", pauses_s)
    await world.add()
    world.sender.status["https://a"] = 500
    await created(world.store, draft(1), owner="alice")
    await settled(world, sum(pauses_s) + 60)
    assert world.states() == ["failed"]
    times = [at for at, _, _ in world.sender.calls]
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert len(pauses) == len(pauses_s)
    for pause, wanted in zip(pauses, pauses_s, strict=True):
        assert wanted <= pause <= wanted + 2, "a look per second"
    assert len({each for _, _, each in world.sender.calls}) == 1, "all under one id"


async def test_one_slow_receiver_has_few_calls_and_delays_nobody(world: Delivering) -> None:
    world.sender.hold["https://slow"] = asyncio.Event()
    await world.add("https://slow")
    await world.add("https://quick")
    await created(world.store, *(draft(number) for number in range(20)), owner="alice")
    await settled(world, 10)
    urls = [url for _, url, _ in world.sender.calls]
    assert (urls.count("https://slow"), urls.count("https://quick")) == (webhook_delivery._AT_ONCE_EACH, 20)
    world.sender.hold["https://slow"].set()
    await settled(world, 10)
    assert world.states() == ["delivered"] * 40
    assert world.sender.most_at_once <= webhook_delivery._AT_ONCE


async def test_an_outcome_that_was_not_recorded_is_sent_again(world: Delivering) -> None:
    await world.add()
    world.webhooks.finish_fails = 1
    await created(world.store, draft(1), owner="alice")
    await settled(world, webhook_delivery._CLAIM_S + 5)
    assert world.states() == ["delivered"]
    assert len(world.sender.calls) == 2


async def test_a_receiver_that_is_gone_disables_its_webhook(world: Delivering) -> None:
    hook = await world.add()
    world.sender.status["https://a"] = 410
    await created(world.store, draft(1), owner="alice")
    await settled(world)
    assert (world.states(), world.webhooks.webhooks[hook.id].enabled) == (["failed"], False)


async def test_without_the_lease_nothing_is_sent_and_with_it_all_is(world: Delivering) -> None:
    world.leases.ours = False
    await settled(world, 10)
    await world.add()
    await created(world.store, draft(1), owner="alice")
    await settled(world, 10)
    assert (world.sender.calls, world.delivery.holding) == ([], False)
    world.leases.ours = True
    await settled(world, 10)
    assert world.states() == ["delivered"]


async def test_a_full_queue_records_the_rest_as_failed(world: Delivering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_delivery, "MAX_WAITING", 3)
    hook = await world.add()
    await created(world.store, *(draft(number) for number in range(5)), owner="alice")
    await settled(world, 10)
    assert sorted(world.states()) == ["delivered"] * 3 + ["failed"] * 2
    assert await world.owner.replay(ALICE, hook.id, None) == 2
    await settled(world, 10)
    assert world.states() == ["delivered"] * 5


async def test_everybody_manages_their_own(world: Delivering) -> None:
    hook = await world.add()
    assert await world.owner.list(BOB) == []
    for call in (
        world.owner.get(BOB, hook.id),
        world.owner.delete(BOB, hook.id),
        world.owner.rotate(BOB, hook.id),
        world.owner.deliveries(BOB, hook.id, None, None, 10),
        world.owner.replay(ALICE, hook.id, uuid4()),
    ):
        with pytest.raises(NotFoundError):
            await call
    with pytest.raises(InvalidRequestError):
        await world.owner.change(ALICE, hook.id, WebhookChanges(url="http://a"))
    rotated = await world.owner.rotate(ALICE, hook.id)
    assert rotated.secret != hook.secret
    assert (await world.owner.deliveries(ALICE, hook.id, None, None, 10)) == []
    with pytest.raises(ForbiddenError):
        await world.add(caller=Caller(ApiKey("eve", "eve", Role.READONLY, datetime.now(UTC))))
    for _ in range(MAX_WEBHOOKS - 1):
        await world.add()
    with pytest.raises(CapacityError):
        await world.add()
    await world.owner.delete(ALICE, hook.id)
    await world.add()
