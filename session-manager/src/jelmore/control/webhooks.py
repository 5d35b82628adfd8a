"""Webhooks as their owners manage them. `webhook_delivery` calls them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuids

from jelmore.control.requests import Caller
from jelmore.control.webhook_rules import new_secret
from jelmore.ports.webhooks import (
    Delivery,
    DeliveryState,
    Webhook,
    WebhookChanges,
    WebhookSender,
    WebhookStore,
)
from jelmore.session.errors import CapacityError, NotFoundError

MAX_WEBHOOKS: Final = 100
"""Of one key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRequest:
    """A webhook to register. Without `secret` one is made."""

    url: str
    secret: str | None = None
    types: frozenset[str] = frozenset()
    waiting_for: frozenset[str] = frozenset()
    session_id: UUID | None = None
    user_id: str | None = None
    description: str = ""
    enabled: bool = True


class Webhooks:
    """Registers, changes and removes webhooks, and shows what was delivered."""

    def __init__(self, store: WebhookStore, sender: WebhookSender) -> None:
        self._store = store
        self._sender = sender

    async def create(self, caller: Caller, request: WebhookRequest) -> Webhook:
        """Register a webhook; it gets the events of the sessions that the caller sees, from now on.

        Raises InvalidRequestError for a URL that may not be called, CapacityError when the caller has too many.
        """
        caller.check_may_write()
        self._sender.check(request.url)
        webhook = Webhook(
            id=uuids.uuid7(),
            owner=caller.key.id,
            only_owner=caller.sees_only,
            url=request.url,
            secret=request.secret or new_secret(),
            types=request.types,
            waiting_for=request.waiting_for,
            session_id=request.session_id,
            user_id=request.user_id,
            description=request.description,
            enabled=request.enabled,
            created_at=datetime.now(UTC),
        )
        await self._store.cursor()  # events count from now on, not from the first pass of the delivery
        added = await self._store.add(webhook, most=MAX_WEBHOOKS)
        if added is None:
            raise CapacityError(f"this key has {MAX_WEBHOOKS} webhooks; remove one first")
        return added

    async def list(self, caller: Caller) -> Sequence[Webhook]:
        """Return the webhooks that the caller may see."""
        return await self._store.list(caller.sees_only)

    async def get(self, caller: Caller, webhook_id: UUID) -> Webhook:
        """Return a webhook. Raises NotFoundError, also for one of another client."""
        found = await self._store.one(webhook_id, caller.sees_only)
        if found is None:
            raise NotFoundError(f"there is no webhook {webhook_id}")
        return found

    async def change(self, caller: Caller, webhook_id: UUID, changes: WebhookChanges) -> Webhook:
        """Change a webhook. What waits to be sent goes to the new URL."""
        caller.check_may_write()
        await self.get(caller, webhook_id)
        if changes.url is not None:
            self._sender.check(changes.url)
        changed = await self._store.change(webhook_id, changes)
        if changed is None:
            raise NotFoundError(f"there is no webhook {webhook_id}")
        return changed

    async def rotate(self, caller: Caller, webhook_id: UUID) -> Webhook:
        """Give a webhook a new secret and return it with that. The former one signs nothing from now on."""
        secret = new_secret()
        changed = await self.change(caller, webhook_id, WebhookChanges(secret=secret))
        return replace(changed, secret=secret)

    async def delete(self, caller: Caller, webhook_id: UUID) -> None:
        """Remove a webhook and its deliveries. Raises NotFoundError."""
        caller.check_may_write()
        await self.get(caller, webhook_id)
        await self._store.remove(webhook_id)

    async def deliveries(
        self, caller: Caller, webhook_id: UUID, state: DeliveryState | None, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """Return the deliveries of a webhook, newest first."""
        await self.get(caller, webhook_id)
        return await self._store.deliveries(webhook_id, state, before, limit)

    async def replay(self, caller: Caller, webhook_id: UUID, delivery_id: UUID | None) -> int:
        """Send one delivery, or every failed one, again; return how many. Raises NotFoundError for an unknown one."""
        caller.check_may_write()
        await self.get(caller, webhook_id)
        count = await self._store.again(webhook_id, delivery_id)
        if delivery_id is not None and not count:
            raise NotFoundError(f"there is no delivery {delivery_id}")
        return count
