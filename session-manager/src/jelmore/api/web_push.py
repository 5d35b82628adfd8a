"""Endpoints for notifications to browsers: the key to subscribe with, and subscriptions."""

from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field

from jelmore.api.auth import AuthenticatedRoute, CallerOf, ContextOf
from jelmore.control.push_messages import Browser
from jelmore.control.web_push import Subscription
from jelmore.session.errors import ForbiddenError
from jelmore_protocol.bounded_shape import BoundedShape

router = APIRouter(prefix="/api/v1/push", route_class=AuthenticatedRoute, tags=["people"])

_BASE64URL = r"^[A-Za-z0-9_-]+=*$"


class KeysBody(BoundedShape):
    """The keys of a subscription, as `PushSubscription.toJSON()` of a browser has them."""

    model_config = ConfigDict(extra="forbid")

    p256dh: str = Field(max_length=128, pattern=_BASE64URL, description="The browser's public key, in base64url.")
    auth: str = Field(max_length=64, pattern=_BASE64URL, description="A shared secret, in base64url.")


class SubscriptionBody(BoundedShape):
    """A browser to notify."""

    model_config = ConfigDict(extra="forbid")

    endpoint: str = Field(max_length=2048, examples=["https://push.example.com/send/abc"])
    keys: KeysBody
    sessions: Literal["own", "all"] = Field("own", description="Those of this key, or all that it sees.")


class PushResponse(BaseModel):
    """Whether browsers can be notified, and the key that they subscribe with (`applicationServerKey`)."""

    enabled: bool
    public_key: str | None


class SubscriptionResponse(BaseModel):
    """A subscription. Its id removes it."""

    id: str


@router.get("", name="get_push", response_model=PushResponse)
async def get_push(context: ContextOf, caller: CallerOf) -> PushResponse:  # noqa: ARG001 - authenticated
    """Return whether browsers can be notified, and with which key they subscribe."""
    push = context.services.push
    return PushResponse(enabled=push.enabled, public_key=await push.public_key() if push.enabled else None)


@router.post("/subscriptions", name="subscribe_browser", status_code=201, response_model=SubscriptionResponse)
async def subscribe_browser(context: ContextOf, caller: CallerOf, body: SubscriptionBody) -> SubscriptionResponse:
    """Notify a browser when a session begins to wait for an answer of a person.

    The message holds the session's title and id, encrypted for the browser. A second call with the same `endpoint`
    replaces the first. A browser that its push service does not know any more is removed.
    """
    if caller.token_subject is not None:
        raise ForbiddenError("this needs an API key")
    browser = Browser(body.keys.p256dh, body.keys.auth)
    subscription = Subscription(body.endpoint, browser, every=body.sessions == "all")
    return SubscriptionResponse(id=str(await context.services.push.subscribe(caller, subscription)))


@router.delete("/subscriptions/{subscription_id}", name="unsubscribe_browser", status_code=204)
async def unsubscribe_browser(
    context: ContextOf, caller: CallerOf, subscription_id: Annotated[UUID, Path(description="The id it got.")]
) -> None:
    """Notify a browser no more. Succeeds also when there is no such subscription."""
    await context.services.push.unsubscribe(caller, subscription_id)
