"""The form of a published event: CloudEvents 1.0 attributes, plus the field names of older consumers. Pure."""

import json
from typing import Any, Final
from uuid import UUID

from jelmore.ports import StoredEvent
from jelmore.session.plain_text import to_json
from jelmore_protocol.events import utc_text

PREFIX: Final = "jelmore.v1"
_SYSTEM: Final = UUID(int=0)


def subject(event: StoredEvent) -> str:
    """Return the subject of an event. The subject of a system event contains no session."""
    kind = event.type.replace(".", "_")
    return f"{PREFIX}.system.{kind}" if event.session_id == _SYSTEM else f"{PREFIX}.session.{event.session_id}.{kind}"


def subjects_of(session_id: UUID) -> str:
    """Return the subject that matches all events of a session."""
    return f"{PREFIX}.session.{session_id}.>"


def event_id(event: StoredEvent) -> str:
    """Return the id by which consumers recognise a duplicate."""
    return f"{event.session_id}:{event.seq}"


def message_id(event: StoredEvent) -> str:
    """Return the id by which NATS recognises a duplicate. An event that is published again has another one."""
    return event_id(event) if event.again is None else f"{event_id(event)}:{event.again}"


def body(event: StoredEvent, instance: str, most_bytes: int) -> bytes:
    """Return the event as JSON. A payload that does not fit is replaced by a mark; the store keeps the whole."""
    text = _encoded(event, instance, dict(event.payload))
    if len(text) > most_bytes:
        text = _encoded(event, instance, {"omitted": True, "bytes": len(to_json(dict(event.payload)))})
    return text


def _encoded(event: StoredEvent, instance: str, payload: dict[str, Any]) -> bytes:
    at = utc_text(event.at)
    identity = event_id(event)
    older = {
        "event_id": identity,
        "event_type": event.type,
        "session_id": str(event.session_id),
        "timestamp": at,
        "payload": payload,
        "seq": event.seq,
        "version": event.version,
        "output_seq": event.output_seq,
    }
    cloud = {
        "specversion": "1.0",
        "id": identity,
        "source": f"/jelmore/{instance}",
        "type": event.type,
        "subject": str(event.session_id),
        "time": at,
        "datacontenttype": "application/json",
    }
    return json.dumps({**older, **cloud}, separators=(",", ":"), default=str).encode()
