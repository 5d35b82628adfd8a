"""Which events the gateway's records lead to. Pure.

A record of an MCP server's call, of a refused connection or of a credential that failed becomes an event of its
session. The number of events is bounded, because an agent in a loop could make many: the records themselves are all
stored.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Any, Final

from jelmore.ports import CallEvent
from jelmore.session.events import EventType
from jelmore_protocol.gateway import CREDENTIAL_ROUTE, EGRESS_ROUTE, CallRecord

REFUSED_EVERY_S: Final = 600.0
_MODEL_ROUTE: Final = "model"

MAX_PER_SESSION: Final = 100
"""Events of one session out of one page of records."""


def events_of(calls: Sequence[CallRecord]) -> list[CallEvent]:
    """Return the events of a page of records, oldest first. The last one of a session counts those left out."""
    kept: dict[str, list[tuple[CallRecord, dict[str, Any]]]] = {}
    left_out: Counter[str] = Counter()
    for call in calls:
        if _type_of(call) is None:
            continue
        of_session = kept.setdefault(call.session_id, [])
        if len(of_session) < MAX_PER_SESSION:
            of_session.append((call, _payload(call)))
        else:
            left_out[call.session_id] += 1
    for session_id, count in left_out.items():
        kept[session_id][-1][1]["unreported"] += count
    events = [
        CallEvent(call.seq, kind, payload)
        for of_session in kept.values()
        for call, payload in of_session
        if (kind := _type_of(call)) is not None
    ]
    return sorted(events, key=lambda event: event.call_seq)


class ModelRefusals:
    """Warns of a session whose calls the model's provider refuses, because there are too many: once per period."""

    def __init__(self) -> None:
        self._warned: dict[str, datetime] = {}
        self._after_page: dict[str, datetime] = {}

    def events_of(self, calls: Sequence[CallRecord]) -> list[CallEvent]:
        """Return the warnings of a page of records, oldest first. Another manager that reads on warns once more.

        They count as given once `stored` is called: a page that could not be stored is read again.
        """
        events, warned_at = [], self._warned
        for call in calls:
            if call.route != _MODEL_ROUTE or call.status != HTTPStatus.TOO_MANY_REQUESTS:
                continue
            before = warned_at.get(call.session_id)
            if before is not None and (call.at - before).total_seconds() < REFUSED_EVERY_S:
                continue
            warned_at = {
                session_id: at
                for session_id, at in warned_at.items()
                if (call.at - at).total_seconds() < REFUSED_EVERY_S
            } | {call.session_id: call.at}
            numbers = {"level_percent": 100, "percent": 100.0, "used": 1, "limit": None}
            payload = {"resource": "model", **numbers, "unit": "refused calls", "model": call.model or None}
            events.append(CallEvent(call.seq, EventType.SYSTEM_RESOURCE_WARNING, payload))
        self._after_page = warned_at
        return events

    def stored(self) -> None:
        """Note that the last page is stored with its warnings."""
        self._warned = self._after_page


def _type_of(call: CallRecord) -> EventType | None:
    """Return the type of a record's event, None for one that makes none."""
    if call.route.startswith("mcp/"):
        return EventType.MCP_CALLED
    return {EGRESS_ROUTE: EventType.EGRESS_REFUSED, CREDENTIAL_ROUTE: EventType.CREDENTIAL_FAILED}.get(call.route)


def _payload(call: CallRecord) -> dict[str, Any]:
    common = {"at": call.at.isoformat(), "unreported": call.unreported}
    if call.route == EGRESS_ROUTE:
        return {"host": call.host or None, "port": call.port or None, "reason": call.tool, **common}
    if call.route == CREDENTIAL_ROUTE:
        return {"route": call.method, "reason": call.tool, **common}
    named = {"route": call.route, "method": call.method, "tool": call.tool or None}
    return {**named, "status": call.status, "complete": call.complete, **common}
