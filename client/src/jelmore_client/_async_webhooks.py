"""Webhooks, asynchronously. `_sync_webhooks.py` is generated from this file."""

from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal

from jelmore_client.core.requests import Request, given, path_of
from jelmore_client.event_models import Delivery, NewWebhook, Webhook

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore

_PAGE: Final = 100


class AsyncWebhooks:
    """The URLs that are called with events. An admin key sees all of them, others their own."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def list(self) -> "list[Webhook]":
        """Return the webhooks, oldest first."""
        return await self._client.fetch_all(Request("GET", path_of("webhooks")), Webhook)

    async def create(
        self,
        url: str,
        *,
        events: Sequence[str] | None = None,
        waiting_for: Sequence[str] | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        description: str | None = None,
        secret: str | None = None,
    ) -> NewWebhook:
        """Register a URL that is called with each event that matches, from now on; keep the secret that it returns.

        Not repeated: each call makes another one. Raises InvalidRequestError for an address that the server does not
        call, such as a private one.
        """
        body = given(
            url=url,
            events=None if events is None else [*events],
            waiting_for=None if waiting_for is None else [*waiting_for],
            session_id=session_id,
            user_id=user_id,
            description=description,
            secret=secret,
        )
        return await self._client.fetch(Request("POST", path_of("webhooks"), json=body, repeatable=False), NewWebhook)

    async def get(self, webhook_id: str) -> Webhook:
        """Return a webhook. Raises NotFoundError."""
        return await self._client.fetch(Request("GET", path_of("webhooks", webhook_id)), Webhook)

    async def change(self, webhook_id: str, **changes: Any) -> Webhook:
        """Change url, events, waiting_for, description, enabled or secret; return the webhook. Raises NotFoundError.

        What waits to be sent goes to the new URL, signed with the new secret. May be called twice.
        """
        return await self._client.fetch(Request("PATCH", path_of("webhooks", webhook_id), json=changes), Webhook)

    async def delete(self, webhook_id: str) -> None:
        """Remove a webhook and what waits to be sent to it. Raises NotFoundError, also when it is called again."""
        await self._client.request(Request("DELETE", path_of("webhooks", webhook_id), repeatable=False))

    async def rotate_secret(self, webhook_id: str) -> NewWebhook:
        """Replace the secret by a new one, which is shown only here. Not repeated: each call makes another one."""
        request = Request("POST", path_of("webhooks", webhook_id, "rotate"), repeatable=False)
        return await self._client.fetch(request, NewWebhook)

    async def deliveries(
        self, webhook_id: str, *, state: Literal["pending", "delivered", "failed"] | None = None
    ) -> AsyncGenerator[Delivery]:
        """Yield the deliveries of a webhook, newest first; finished ones are kept as long as events are."""
        before: str | None = None
        while True:
            params = given(state=state, before=before, limit=_PAGE)
            request = Request("GET", path_of("webhooks", webhook_id, "deliveries"), params=params)
            page = await self._client.fetch_all(request, Delivery)
            for delivery in page:
                yield delivery
            if len(page) < _PAGE:
                return
            before = page[-1].id

    async def replay(self, webhook_id: str, delivery_id: str) -> int:
        """Send a delivery again, whatever became of it, with its former id; return 1. Each call sends it again."""
        path = path_of("webhooks", webhook_id, "deliveries", delivery_id, "replay")
        return int((await self._client.request(Request("POST", path, repeatable=False)))["replayed"])

    async def replay_failed(self, webhook_id: str) -> int:
        """Send every failed delivery of a webhook again; return how many. May be called twice."""
        path = path_of("webhooks", webhook_id, "replay")
        return int((await self._client.request(Request("POST", path)))["replayed"])
