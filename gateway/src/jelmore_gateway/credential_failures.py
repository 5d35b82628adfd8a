"""Records calls that were refused because an OAuth credential gives no access token, for the session's events.

An agent that calls in a loop makes one record a minute of each route, so it cannot push out what is useful.
"""

import time
from typing import Final

import structlog

from jelmore_gateway.state import State, StateError, now
from jelmore_protocol.gateway import CREDENTIAL_ROUTE, CallRecord, SandboxEntry

_log = structlog.get_logger(__name__)

EVERY_S: Final = 60.0
_MAX_KNOWN: Final = 10_000


class FailureRecords:
    """Stores one record of a session, route and reason a minute; the next one counts those between."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last: dict[tuple[str, str, str], tuple[float, int]] = {}

    async def add(self, entry: SandboxEntry, route: str, reason: str) -> None:
        """Store a record unless one is recent. A failure to store is logged. A probe has no session, and no record."""
        if not entry.session_id:
            return
        key = (entry.session_id, route, reason)
        at, unreported = self._last.pop(key, (float("-inf"), 0))
        if time.monotonic() - at < EVERY_S:
            self._last[key] = (at, unreported + 1)
            return
        while len(self._last) >= _MAX_KNOWN:
            del self._last[next(iter(self._last))]
        self._last[key] = (time.monotonic(), 0)
        record = CallRecord(
            seq=0,
            session_id=entry.session_id,
            generation=entry.generation,
            at=now(),
            route=CREDENTIAL_ROUTE,
            status=503,
            method=route,
            tool=reason,
            unreported=unreported,
        )
        try:
            await self._state.add_call(record)
        except StateError as error:
            _log.error("call_not_stored", session_id=entry.session_id, error=str(error))
