"""Webhooks: who is called with which events, their deliveries, and the call itself."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol
from uuid import UUID

from jelmore.ports.event_log import LoggedEvent


class DeliveryState(StrEnum):
    """The states of a delivery. `failed` means given up; it can be made pending again."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A registered webhook. `only_owner` limits it to the sessions of one owner; empty filters let everything pass."""

    id: UUID
    owner: str
    only_owner: str | None
    url: str
    secret: str
    types: frozenset[str]
    waiting_for: frozenset[str]
    session_id: UUID | None
    user_id: str | None
    description: str
    enabled: bool
    created_at: datetime
    waiting: int = 0
    push: tuple[str, str] | None = None
    """Of a browser's subscription to web push: its public key and its secret, in base64url."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookChanges:
    """Changes of a webhook. None leaves a value as it is."""

    url: str | None = None
    secret: str | None = None
    types: frozenset[str] | None = None
    waiting_for: frozenset[str] | None = None
    description: str | None = None
    enabled: bool | None = None


@dataclass(frozen=True, slots=True)
class NewDelivery:
    """A delivery to store: pending, or failed at once with an error."""

    id: UUID
    webhook_id: UUID
    event: LoggedEvent
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery as its log shows it."""

    id: UUID
    position: int
    session_id: UUID
    seq: int
    type: str
    state: DeliveryState
    attempts: int
    next_at: datetime
    created_at: datetime
    sent_at: datetime | None
    status: int | None
    error: str | None
    duration_ms: float | None


@dataclass(frozen=True, slots=True)
class DueDelivery:
    """A delivery that this manager sends now. `event` is None when the event was deleted with its session,
    or the owner does not see the session any more.
    """

    id: UUID
    webhook_id: UUID
    attempt: int
    url: str
    secret: str
    event: LoggedEvent | None
    push: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of an attempt: a status, or why there was none."""

    status: int | None
    error: str | None
    duration_ms: float


class WebhookSender(Protocol):
    """Calls a receiver."""

    def check(self, url: str) -> None:
        """Raise InvalidRequestError when the URL may not be called, as far as this can be said without a lookup."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        """Post the body. Follows no redirects and connects to public addresses only, unless the settings allow more."""

    async def close(self) -> None:
        """Release connections."""


class WebhookStore(Protocol):
    """Webhooks and their deliveries."""

    async def add(self, webhook: Webhook, *, most: int) -> Webhook | None:
        """Store a webhook; return it as stored, None when its owner has `most` already."""

    async def add_browser(self, webhook: Webhook, *, most: int) -> Webhook | None:
        """Store a browser's subscription in place of an earlier one with its URL; None when the owner has `most`."""

    async def remove_browser(self, webhook_id: UUID, owner: str) -> None:
        """Remove a browser's subscription of an owner with what waits for it. Absent is success."""

    async def push_key(self, new: str) -> str:
        """Return the private key that signs push messages; `new` becomes it when there is none."""

    async def list(self, owner: str | None) -> Sequence[Webhook]:
        """Return the webhooks of one owner, or all."""

    async def one(self, webhook_id: UUID, owner: str | None) -> Webhook | None:
        """Return a webhook; None when there is none or it has another owner."""

    async def change(self, webhook_id: UUID, changes: WebhookChanges) -> Webhook | None:
        """Change a webhook and return it; None when there is none."""

    async def remove(self, webhook_id: UUID) -> None:
        """Remove a webhook with its deliveries. May run twice."""

    async def active(self) -> Sequence[Webhook]:
        """Return the webhooks that get events, each with how many deliveries wait."""

    async def cursor(self) -> int:
        """Return the position up to which events were enqueued."""

    async def enqueue(self, deliveries: Sequence[NewDelivery], after: int, until: int) -> bool:
        """Store deliveries and move the cursor, both or neither; return False when another manager has moved it."""

    async def claim(
        self, limit: int, *, per_webhook: int, for_s: float, without: Sequence[UUID]
    ) -> Sequence[DueDelivery]:
        """Take due deliveries for `for_s` seconds. After that they are due again, unless `finish` was called."""

    async def finish(self, delivery_id: UUID, state: DeliveryState, sent: Sent, *, retry_in_s: float) -> None:
        """Record the outcome of an attempt; a pending delivery is due again after `retry_in_s`."""

    async def deliveries(
        self, webhook_id: UUID, state: DeliveryState | None, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """Return deliveries, newest first, those below the id `before`."""

    async def again(self, webhook_id: UUID, delivery_id: UUID | None) -> int:
        """Make one delivery, or every failed one, due again; return how many."""

    async def trim_deliveries(self, max_age_s: float) -> None:
        """Remove finished deliveries older than `max_age_s`, a bounded number at once."""
