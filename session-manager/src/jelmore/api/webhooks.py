"""Endpoints that register webhooks and show what was delivered."""

from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf
from jelmore.api.event_types import parse_types
from jelmore.api.parameters import Whole
from jelmore.api.responses import UtcTime
from jelmore.control.webhooks import WebhookRequest
from jelmore.ports.webhooks import Delivery, DeliveryState, Webhook, WebhookChanges
from jelmore.session.errors import NotFoundError
from jelmore.session.states import WaitingFor
from jelmore_protocol.bounded_shape import BoundedShape

router = APIRouter(prefix="/api/v1/webhooks", route_class=AuthenticatedRoute, tags=["webhooks"])

_PLAIN: Final = r"^[^\x00-\x1f\x7f]*$"

Url = Annotated[str, Field(max_length=2048, examples=["https://example.com/jelmore"])]
Secret = Annotated[
    str,
    Field(
        min_length=24,
        max_length=256,
        pattern=r"^[\x21-\x7e]+$",
        description="Signs the calls. `whsec_` and a key in base64, or any text; it is never shown again.",
        json_schema_extra={"writeOnly": True},
    ),
]
Types = Annotated[
    list[str],
    Field(max_length=100, description="Only these types: `session.failed`, `session.*`. Empty: every type."),
]
Waiting = Annotated[
    list[WaitingFor],
    Field(max_length=10, description="Of `session.state_changed` only those that begin to wait for one of these."),
]
Description = Annotated[str, Field(max_length=256, pattern=_PLAIN)]


class WebhookBody(BoundedShape):
    """A webhook to register."""

    model_config = ConfigDict(extra="forbid")

    url: Url
    secret: Secret | None = None
    events: Types = Field([])
    waiting_for: Waiting = Field([])
    session_id: UUID | None = Field(None, description="Only events of this session.")
    user_id: str | None = Field(None, max_length=256, pattern=_PLAIN, description="Only sessions with this `user_id`.")
    description: Description = ""
    enabled: bool = True


class WebhookChangeBody(BoundedShape):
    """Changes of a webhook. Fields that are left out keep their value."""

    model_config = ConfigDict(extra="forbid")

    url: Url | None = None
    secret: Secret | None = None
    events: Types | None = None
    waiting_for: Waiting | None = None
    description: Description | None = None
    enabled: bool | None = None


class WebhookResponse(BaseModel):
    """A webhook, without its secret."""

    id: str
    url: str
    events: list[str]
    waiting_for: list[str]
    session_id: str | None
    user_id: str | None
    description: str
    enabled: bool
    owner: str
    created_at: UtcTime


class WebhookCreatedResponse(WebhookResponse):
    """A new webhook. `secret` is shown here only, and only when Jelmore made it."""

    secret: str | None


class DeliveryResponse(BaseModel):
    """A delivery: an event for a webhook, and its last attempt."""

    id: str = Field(description="The `webhook-id` of every attempt.")
    event_id: str
    event_type: str
    session_id: str
    position: int
    state: DeliveryState
    attempts: int
    next_attempt_at: UtcTime | None = Field(description="While it is pending.")
    created_at: UtcTime
    sent_at: UtcTime | None
    status: int | None = Field(description="What the receiver answered.")
    error: str | None
    duration_ms: float | None


class ReplayResponse(BaseModel):
    """How many deliveries are sent again."""

    replayed: int


async def _webhook_id(webhook_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    return _parse(webhook_id, "webhook")


async def _delivery_id(delivery_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})]) -> UUID:
    return _parse(delivery_id, "delivery")


def _parse(text: str, what: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotFoundError(f"there is no {what} {text[:64]}") from None


WebhookId = Annotated[UUID, Depends(_webhook_id)]
DeliveryId = Annotated[UUID, Depends(_delivery_id)]


@router.post("", name="create_webhook", status_code=201, response_model=WebhookCreatedResponse)
async def create_webhook(context: ContextOf, caller: CallerOf, body: WebhookBody, response: Response) -> object:
    """Register a URL that is called with each event that matches, from now on.

    Calls are signed as the Standard Webhooks specification says: `webhook-id`, `webhook-timestamp` and
    `webhook-signature`. An answer other than 2xx is tried again for most of a day; 410 disables the webhook.
    """
    if body.session_id is not None:
        await context.services.queries.get(caller, body.session_id)
    request = WebhookRequest(
        url=body.url,
        secret=body.secret,
        types=parse_types(body.events, "events"),
        waiting_for=frozenset(each.value for each in body.waiting_for),
        session_id=body.session_id,
        user_id=body.user_id,
        description=body.description,
        enabled=body.enabled,
    )
    webhook = await context.services.webhooks.create(caller, request)
    response.headers["Location"] = f"/api/v1/webhooks/{webhook.id}"
    return _created(webhook, None if body.secret else webhook.secret)


@router.get("", name="list_webhooks", response_model=list[WebhookResponse])
async def list_webhooks(context: ContextOf, caller: CallerOf) -> object:
    """List the webhooks of this key, oldest first; for an admin or readonly key those of all keys."""
    return [_show(webhook) for webhook in await context.services.webhooks.list(caller)]


@router.get("/{webhook_id}", name="get_webhook", response_model=WebhookResponse)
async def get_webhook(context: ContextOf, caller: CallerOf, webhook_id: WebhookId) -> object:
    """Return a webhook."""
    return _show(await context.services.webhooks.get(caller, webhook_id))


@router.patch("/{webhook_id}", name="change_webhook", response_model=WebhookResponse)
async def change_webhook(
    context: ContextOf, caller: CallerOf, webhook_id: WebhookId, body: WebhookChangeBody
) -> object:
    """Change a webhook. What waits to be sent goes to the new URL, signed with the new secret."""
    changes = WebhookChanges(
        url=body.url,
        secret=body.secret,
        types=None if body.events is None else parse_types(body.events, "events"),
        waiting_for=None if body.waiting_for is None else frozenset(each.value for each in body.waiting_for),
        description=body.description,
        enabled=body.enabled,
    )
    return _show(await context.services.webhooks.change(caller, webhook_id, changes))


@router.delete("/{webhook_id}", name="delete_webhook", status_code=204)
async def delete_webhook(context: ContextOf, caller: CallerOf, webhook_id: WebhookId) -> None:
    """Remove a webhook with its deliveries."""
    await context.services.webhooks.delete(caller, webhook_id)


@router.post("/{webhook_id}/rotate", name="rotate_webhook_secret", response_model=WebhookCreatedResponse)
async def rotate_webhook_secret(context: ContextOf, caller: CallerOf, webhook_id: WebhookId) -> object:
    """Replace the secret by a new one, which is shown here only."""
    webhook = await context.services.webhooks.rotate(caller, webhook_id)
    return _created(webhook, webhook.secret)


@router.get("/{webhook_id}/deliveries", name="list_deliveries", response_model=list[DeliveryResponse])
async def list_deliveries(
    context: ContextOf,
    caller: CallerOf,
    webhook_id: WebhookId,
    *,
    state: DeliveryState | None = None,
    before: Annotated[UUID | None, Query(description="Only deliveries older than this one.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 100,
) -> object:
    """List deliveries, newest first. Finished ones are kept as long as events are."""
    found = await context.services.webhooks.deliveries(caller, webhook_id, state, before, limit)
    return [_show_delivery(delivery) for delivery in found]


@router.post("/{webhook_id}/replay", name="replay_failed", status_code=202, response_model=ReplayResponse)
async def replay_failed(context: ContextOf, caller: CallerOf, webhook_id: WebhookId) -> object:
    """Send every failed delivery again."""
    return ReplayResponse(replayed=await context.services.webhooks.replay(caller, webhook_id, None))


@router.post(
    "/{webhook_id}/deliveries/{delivery_id}/replay",
    name="replay_delivery",
    status_code=202,
    response_model=ReplayResponse,
)
async def replay_delivery(
    context: ContextOf, caller: CallerOf, webhook_id: WebhookId, delivery_id: DeliveryId
) -> object:
    """Send a delivery again, whatever became of it. It keeps its `webhook-id`."""
    return ReplayResponse(replayed=await context.services.webhooks.replay(caller, webhook_id, delivery_id))


def _show(webhook: Webhook) -> WebhookResponse:
    return WebhookResponse(
        id=str(webhook.id),
        url=webhook.url,
        events=sorted(webhook.types),
        waiting_for=sorted(webhook.waiting_for),
        session_id=None if webhook.session_id is None else str(webhook.session_id),
        user_id=webhook.user_id,
        description=webhook.description,
        enabled=webhook.enabled,
        owner=webhook.owner,
        created_at=webhook.created_at,
    )


def _created(webhook: Webhook, secret: str | None) -> WebhookCreatedResponse:
    return WebhookCreatedResponse(**_show(webhook).model_dump(), secret=secret)


def _show_delivery(delivery: Delivery) -> DeliveryResponse:
    pending = delivery.state is DeliveryState.PENDING
    return DeliveryResponse(
        id=str(delivery.id),
        event_id=f"{delivery.session_id}:{delivery.seq}",
        event_type=delivery.type,
        session_id=str(delivery.session_id),
        position=delivery.position,
        state=delivery.state,
        attempts=delivery.attempts,
        next_attempt_at=delivery.next_at if pending else None,
        created_at=delivery.created_at,
        sent_at=delivery.sent_at,
        status=delivery.status,
        error=delivery.error,
        duration_ms=delivery.duration_ms,
    )
