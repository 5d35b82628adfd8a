"""The JSON schema of a published event, for consumers. `docs/events.schema.json` is generated from it. Pure.

It states what consumers may rely on: fields may be added to a body or a payload, but none is removed.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from jelmore.session.events import EventType

PAYLOADS: Final[Mapping[EventType, tuple[str, ...]]] = {
    EventType.SESSION_CREATED: ("user_id", "query", "model"),
    EventType.SESSION_STARTED: ("container_id",),
    EventType.SESSION_STATE_CHANGED: ("from", "to", "reason"),
    EventType.SESSION_CHANGED: ("fields",),
    EventType.SESSION_IDLE: ("since",),
    EventType.SESSION_RESUMED: ("from",),
    EventType.SESSION_TERMINATED: ("reason",),
    EventType.SESSION_FAILED: ("error",),
    EventType.SESSION_DIRECTORY_CHANGED: ("from", "to"),
    EventType.SESSION_FILE_MODIFIED: ("path", "op", "source"),
    EventType.SESSION_GIT_ACTIVITY: ("op", "branch", "head"),
    EventType.SESSION_READ: ("participant", "output_seq", "event_seq"),
    EventType.EGRESS_REFUSED: ("host", "port", "reason", "unreported"),
    EventType.MCP_CALLED: ("route", "method", "tool", "status", "complete"),
    EventType.CREDENTIAL_FAILED: ("route", "reason", "unreported"),
    EventType.COMMENT_POSTED: ("author", "name", "text"),
    EventType.PARTICIPANT_JOINED: ("participant", "name", "role"),
    EventType.PARTICIPANT_LEFT: ("participant",),
    EventType.SESSION_FORKED: ("fork", "at_seq"),
    EventType.SESSION_REWOUND: ("to_seq", "input_id", "files", "conversation", "by"),
    EventType.SESSION_BUDGET_REACHED: ("spent_usd",),
    EventType.COMMAND_SENT: ("input_id", "input"),
    EventType.COMMAND_EXECUTED: ("input_id", "subtype", "result", "usage"),
    EventType.COMMAND_FAILED: ("input_id",),
    EventType.OUTPUT_RECEIVED: ("from_seq", "to_seq"),
    EventType.ERROR_RECEIVED: ("code", "message"),
    EventType.SYSTEM_TIMEOUT_WARNING: ("expires_at",),
    EventType.SYSTEM_RESOURCE_WARNING: ("resource", "level_percent", "percent", "used", "limit", "unit"),
    EventType.SYSTEM_CLEANUP: ("removed",),
    EventType.SYSTEM_SESSION_ERASED: ("session_id", "owner", "by"),
}
"""The fields that a payload of each type always has."""

_TIME: Final = {"type": "string", "format": "date-time", "pattern": "Z$"}
_FIELDS: Final[Mapping[str, Mapping[str, Any]]] = {
    "event_id": {"type": "string", "description": "session_id:seq; a repeat has the same."},
    "event_type": {"enum": [kind.value for kind in EventType]},
    "session_id": {"type": "string", "format": "uuid", "description": "All zeros for an event of the system."},
    "timestamp": _TIME,
    "payload": {"type": "object"},
    "seq": {"type": "integer", "minimum": 1, "description": "Counts the session's events, without a gap."},
    "version": {"type": "integer", "minimum": 0, "description": "Of the session's record."},
    "output_seq": {"type": ["integer", "null"], "description": "The output that it is about."},
    "specversion": {"const": "1.0"},
    "id": {"type": "string"},
    "source": {"type": "string", "pattern": "^/jelmore/"},
    "type": {"enum": [kind.value for kind in EventType]},
    "subject": {"type": "string", "format": "uuid"},
    "time": _TIME,
    "datacontenttype": {"const": "application/json"},
}
_OMITTED: Final = {"required": ["omitted", "bytes"], "properties": {"omitted": {"const": True}}}
"""Replaces a payload that does not fit into a message."""


def event_schema() -> dict[str, Any]:
    """Return the schema (JSON Schema 2020-12) of the body of every event."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Jelmore event",
        "type": "object",
        "required": list(_FIELDS),
        "properties": dict(_FIELDS),
        "allOf": [
            {
                "if": {"properties": {"event_type": {"const": kind.value}}},
                "then": {"properties": {"payload": {"anyOf": [{"required": list(names)}, _OMITTED]}}},
            }
            for kind, names in PAYLOADS.items()
        ],
    }


def event_schema_text() -> str:
    """Return the schema as the text of `docs/events.schema.json`."""
    return json.dumps(event_schema(), indent=2) + "\n"
