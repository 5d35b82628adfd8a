"""The log of all sessions' events, asynchronously. `_sync_events.py` is generated from this file."""

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final

from jelmore_client.core.requests import Request, given, path_of
from jelmore_client.core.streams import LogCursor
from jelmore_client.errors import StreamGapError
from jelmore_client.event_models import LoggedEvent

if TYPE_CHECKING:
    from jelmore_client._async import AsyncJelmore

_PAGE: Final = 500


class AsyncEventLog:
    """What the server publishes of all sessions that the key may see, in one order of positions."""

    def __init__(self, client: "AsyncJelmore") -> None:
        self._client = client

    async def list(
        self,
        *,
        after: int = 0,
        types: Sequence[str] | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
    ) -> AsyncGenerator[LoggedEvent]:
        """Yield the stored events after a position, and end at the newest; 0: from the oldest that is kept.

        `types` are such as `session.*` or `command.executed`. Raises StreamGapError when events after `after` are no
        longer kept, InvalidRequestError for a type that does not exist.
        """
        filters = _filters(types, session_id, user_id)
        more = True
        while more:
            params = {**filters, "after": after, "limit": _PAGE}
            page = await self._client.request(Request("GET", path_of("events"), params=params))
            if page["resume"] == "gap" and after:
                raise StreamGapError(after)
            for found in page["events"]:
                yield LoggedEvent.read(found)
            after, more = page["next_after"], page["more"]

    async def stream(
        self,
        *,
        after: int | None = None,
        types: Sequence[str] | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        timeout_s: float | None = None,
    ) -> AsyncGenerator[LoggedEvent]:
        """Yield the events after a position (None: only new ones, 0: all that are kept), live, without an end.

        Connects again when a connection breaks: no event is lost and none comes twice. Keep the `position` of what you
        have handled, and give it as `after` next time. Raises StreamGapError when events after `after` are no longer
        kept, ApiError when the server refuses, TimeoutError after `timeout_s`.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        cursor = LogCursor(after, deadline=deadline, filters=_filters(types, session_id, user_id))
        async with aclosing(self._client.follow(path_of("events", "stream"), cursor)) as events:
            async for event in events:
                yield event


def _filters(types: Sequence[str] | None, session_id: str | None, user_id: str | None) -> dict[str, Any]:
    return given(type=None if types is None else [*types], session_id=session_id, user_id=user_id)
