"""Notifies a person's browser when a session begins to wait for them. `webhook_delivery` sends, retries and bounds.

A notice holds the session's title and address, and nothing that the agent wrote. Off unless the operator names
a contact.
"""

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuids

from jelmore.control.push_messages import Browser, encrypted, new_push_key, padless, public_text, push_headers
from jelmore.control.requests import Caller
from jelmore.ports.webhooks import DueDelivery, Sent, Webhook, WebhookSender, WebhookStore
from jelmore.session.errors import CapacityError, InvalidRequestError, NotFoundError, UnknownSessionError
from jelmore.session.events import EventType
from jelmore.session.record import Session

MAX_BROWSERS: Final = 20
"""Of one key."""

ASKS: Final = frozenset({"permission", "question", "egress"})
"""What a session waits for when it waits for a person and not only for the next prompt."""

_MAX_TITLE: Final = 120
_NO_LONGER: Final = Sent(204, None, 0.0)
"""The outcome of a notice that is not sent any more, because somebody has answered."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """What a browser subscribed with. `every` wants all sessions that the caller sees, not only their own."""

    endpoint: str
    browser: Browser
    every: bool = False


class WebPush:
    """The subscriptions of browsers, and the notices to them. `contact` empty: off."""

    def __init__(
        self, store: WebhookStore, sender: WebhookSender, load: Callable[[UUID], Awaitable[Session]], contact: str
    ) -> None:
        self._store = store
        self._sender = sender
        self._load = load
        self._contact = contact
        self._private_pem = ""

    @property
    def enabled(self) -> bool:
        """Whether the operator has named a contact."""
        return bool(self._contact)

    async def public_key(self) -> str:
        """Return the key that browsers subscribe with. Raises NotFoundError when web push is off, DependencyError."""
        return public_text(await self._key())

    async def subscribe(self, caller: Caller, subscription: Subscription) -> UUID:
        """Notify a browser; return the subscription's id. Again for the same browser, it replaces the earlier one.

        Raises InvalidRequestError for keys or an address that cannot be used, CapacityError for too many browsers.
        """
        await self._key()
        try:
            subscription.browser.check()
            self._sender.check(subscription.endpoint)
        except ValueError as error:
            raise InvalidRequestError(str(error)) from None
        except InvalidRequestError as error:
            raise InvalidRequestError(f"endpoint: {str(error).removeprefix('url: ')}") from None
        await self._store.cursor()  # events count from now on
        added = await self._store.add_browser(
            Webhook(
                id=uuids.uuid7(),
                owner=caller.key.id,
                only_owner=caller.sees_only if subscription.every else caller.key.id,
                url=subscription.endpoint,
                secret="",
                types=frozenset({EventType.SESSION_STATE_CHANGED.value}),
                waiting_for=ASKS,
                session_id=None,
                user_id=None,
                description="",
                enabled=False,
                created_at=datetime.now(UTC),
                push=(subscription.browser.key, subscription.browser.auth),
            ),
            most=MAX_BROWSERS,
        )
        if added is None:
            raise CapacityError(f"this key has {MAX_BROWSERS} browsers; unsubscribe one first")
        return added.id

    async def unsubscribe(self, caller: Caller, subscription_id: UUID) -> None:
        """Notify a browser no more. Absent is success, also for one of another key."""
        await self._store.remove_browser(subscription_id, caller.key.id)

    async def send(self, delivery: DueDelivery) -> Sent:
        """Send the notice of a delivery to its browser, unless the session waits no longer. Raises DependencyError."""
        if delivery.push is None or delivery.event is None or not self.enabled:
            return _NO_LONGER
        session_id = delivery.event.event.session_id
        try:
            session = await self._load(session_id)
        except UnknownSessionError:
            return _NO_LONGER
        if session.ended or session.waiting_for is None or session.waiting_for.value not in ASKS:
            return _NO_LONGER
        try:
            body = encrypted(notice_of(session), Browser(*delivery.push))
        except ValueError as error:
            return Sent(400, str(error), 0.0)
        topic = padless(session_id.bytes)  # at most 32 characters of base64url
        headers = push_headers(delivery.url, await self._key(), self._contact, topic)
        return await self._sender.send(delivery.url, headers, body)

    async def _key(self) -> str:
        if not self.enabled:
            raise NotFoundError("web push is off: the operator sets JELMORE_WEB_PUSH_CONTACT to switch it on")
        if not self._private_pem:
            self._private_pem = await self._store.push_key(new_push_key())
        return self._private_pem


def notice_of(session: Session) -> bytes:
    """Return the message to a browser: the title that people gave, what it waits for, its id. Nothing of the agent."""
    title = (session.title or "").strip()[:_MAX_TITLE] or f"Session {str(session.id)[-8:]}"
    waiting_for = session.waiting_for.value if session.waiting_for else ""
    found = {"title": title, "session_id": str(session.id), "waiting_for": waiting_for}
    return json.dumps(found, ensure_ascii=False).encode()
