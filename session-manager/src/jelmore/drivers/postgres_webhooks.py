"""Webhooks and their deliveries in PostgreSQL."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Database, execute, fetch_row
from jelmore.drivers.postgres_rows import Row, event_of
from jelmore.ports.event_log import LoggedEvent
from jelmore.ports.webhooks import (
    Delivery,
    DeliveryState,
    DueDelivery,
    NewDelivery,
    Sent,
    Webhook,
    WebhookChanges,
)
from jelmore.session.errors import FaultError
from jelmore.session.plain_text import clean_text

_SQL: Final = sql.queries("webhooks")
_PLAIN: Final = ("id", "owner", "only_owner", "url", "secret", "session_id", "user_id", "description", "enabled")


class PostgresWebhooks:
    """The `WebhookStore` port."""

    def __init__(self, url: str, *, connections: int = 3, timeout_s: float = 10) -> None:
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def add(self, webhook: Webhook, *, most: int) -> Webhook | None:
        """Store a webhook; see the port."""
        row = await self._database.row(
            _SQL["add"],
            **{name: getattr(webhook, name) for name in _PLAIN},
            types=sorted(webhook.types),
            waiting_for=sorted(webhook.waiting_for),
            most=most,
        )
        return _webhook(row) if row else None

    async def add_browser(self, webhook: Webhook, *, most: int) -> Webhook | None:
        """Store a browser's subscription; see the port."""
        push_key, push_auth = webhook.push or (None, None)
        row = await self._database.row(
            _SQL["add_browser"],
            **{name: getattr(webhook, name) for name in ("id", "owner", "only_owner", "url")},
            types=sorted(webhook.types),
            waiting_for=sorted(webhook.waiting_for),
            push_key=push_key,
            push_auth=push_auth,
            most=most,
        )
        return _webhook(row) if row else None

    async def remove_browser(self, webhook_id: UUID, owner: str) -> None:
        """Remove a browser's subscription of an owner. Absent is success."""
        await self._database.rows(_SQL["remove_browser"], id=webhook_id, owner=owner)

    async def push_key(self, new: str) -> str:
        """Return the key that signs push messages; see the port."""
        row = await self._database.row(_SQL["push_key"])
        if row is None:
            await self._database.rows(_SQL["keep_push_key"], private_key=new)
            row = await self._database.row(_SQL["push_key"])
        if row is None:
            raise FaultError("postgres: the key of web push vanished")
        return str(row["private_key"])

    async def list(self, owner: str | None) -> Sequence[Webhook]:
        """Return the webhooks of one owner, or all."""
        return [_webhook(row) for row in await self._database.rows(_SQL["list"], owner=owner)]

    async def one(self, webhook_id: UUID, owner: str | None) -> Webhook | None:
        """Return a webhook; see the port."""
        row = await self._database.row(_SQL["one"], id=webhook_id, owner=owner)
        return _webhook(row) if row else None

    async def change(self, webhook_id: UUID, changes: WebhookChanges) -> Webhook | None:
        """Change a webhook and return it; None when there is none."""
        row = await self._database.row(
            _SQL["change"],
            id=webhook_id,
            url=changes.url,
            secret=changes.secret,
            types=None if changes.types is None else sorted(changes.types),
            waiting_for=None if changes.waiting_for is None else sorted(changes.waiting_for),
            description=changes.description,
            enabled=changes.enabled,
        )
        return _webhook(row) if row else None

    async def remove(self, webhook_id: UUID) -> None:
        """Remove a webhook with its deliveries. May run twice."""
        await self._database.rows(_SQL["remove"], id=webhook_id)

    async def active(self) -> Sequence[Webhook]:
        """Return the webhooks that get events, each with how many deliveries wait."""
        rows = await self._database.rows(_SQL["active"])
        found = [(_webhook(row, row["waiting"]), row["of_client"]) for row in rows]
        return [replace(each, only_owner=each.owner) if of_client else each for each, of_client in found]

    async def cursor(self) -> int:
        """Return the position up to which events were enqueued; the newest one at the first call."""
        row = await self._database.row(_SQL["cursor"])
        if row is None:
            await self._database.rows(_SQL["start_cursor"])
            row = await self._database.row(_SQL["cursor"])
        if row is None:
            raise FaultError("postgres: the cursor of the webhooks vanished")
        return int(row["position"])

    async def enqueue(self, deliveries: Sequence[NewDelivery], after: int, until: int) -> bool:
        """Store deliveries and move the cursor; see the port."""
        states = [DeliveryState.FAILED.value if each.error else DeliveryState.PENDING.value for each in deliveries]
        columns = {
            "ids": [each.id for each in deliveries],
            "webhook_ids": [each.webhook_id for each in deliveries],
            "positions": [each.event.position for each in deliveries],
            "session_ids": [each.event.event.session_id for each in deliveries],
            "seqs": [each.event.event.seq for each in deliveries],
            "types": [each.event.event.type for each in deliveries],
            "states": states,
            "errors": [each.error for each in deliveries],
        }
        async with self._database.transaction() as connection:
            if await fetch_row(connection, _SQL["move"], after=after, until=until) is None:
                return False
            if deliveries:
                await execute(connection, _SQL["enqueue"], **columns)
        return True

    async def claim(
        self, limit: int, *, per_webhook: int, for_s: float, without: Sequence[UUID]
    ) -> Sequence[DueDelivery]:
        """Take due deliveries; see the port."""
        rows = await self._database.rows(
            _SQL["claim"], limit=limit, per_webhook=per_webhook, for_s=for_s, without=list(without)
        )
        return [_due(row) for row in rows]

    async def finish(self, delivery_id: UUID, state: DeliveryState, sent: Sent, *, retry_in_s: float) -> None:
        """Record the outcome of an attempt."""
        await self._database.rows(
            _SQL["finish"],
            id=delivery_id,
            state=state.value,
            status=sent.status,
            error=None if sent.error is None else clean_text(sent.error),
            duration_ms=sent.duration_ms,
            retry_in_s=retry_in_s,
        )

    async def deliveries(
        self, webhook_id: UUID, state: DeliveryState | None, before: UUID | None, limit: int
    ) -> Sequence[Delivery]:
        """Return deliveries, newest first; see the port."""
        values = {"webhook_id": webhook_id, "state": state and state.value, "before": before, "limit": limit}
        rows = await self._database.rows(_SQL["deliveries"], **values)
        return [Delivery(**{**dict(row), "state": DeliveryState(row["state"])}) for row in rows]

    async def again(self, webhook_id: UUID, delivery_id: UUID | None) -> int:
        """Make deliveries due again; return how many."""
        row = await self._database.row(_SQL["again"], webhook_id=webhook_id, delivery_id=delivery_id)
        return int(row[0]) if row else 0

    async def trim_deliveries(self, max_age_s: float) -> None:
        """Remove old finished deliveries."""
        await self._database.rows(_SQL["trim_deliveries"], max_age_s=max_age_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()


def _webhook(row: Row, waiting: int = 0) -> Webhook:
    return Webhook(
        **{name: row[name] for name in _PLAIN},
        types=frozenset(row["types"]),
        waiting_for=frozenset(row["waiting_for"]),
        created_at=row["created_at"],
        waiting=waiting,
        push=_push(row),
    )


def _push(row: Row) -> tuple[str, str] | None:
    return None if row["push_key"] is None else (row["push_key"], row["push_auth"])


def _due(row: Row) -> DueDelivery:
    event = LoggedEvent(row["position"], event_of(row), row["owner"], row["user_id"]) if row["kept"] else None
    return DueDelivery(
        row["delivery_id"], row["webhook_id"], row["attempts"], row["url"], row["secret"], event, _push(row)
    )
