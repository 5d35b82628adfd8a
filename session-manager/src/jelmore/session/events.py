"""Every event type that a session or the system emits, and the drafts that become rows of the outbox."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class EventType(StrEnum):
    """The public event types. Filters of subscribers depend on them: add names, but do not change them."""

    SESSION_CREATED = "session.created"
    SESSION_STARTED = "session.started"
    SESSION_STATE_CHANGED = "session.state_changed"
    SESSION_CHANGED = "session.changed"
    SESSION_IDLE = "session.idle"
    SESSION_RESUMED = "session.resumed"
    SESSION_TERMINATED = "session.terminated"
    SESSION_FAILED = "session.failed"
    SESSION_DIRECTORY_CHANGED = "session.directory_changed"
    SESSION_FILE_MODIFIED = "session.file_modified"
    SESSION_GIT_ACTIVITY = "session.git_activity"
    SESSION_READ = "session.read"
    EGRESS_REFUSED = "egress.refused"
    MCP_CALLED = "mcp.called"
    CREDENTIAL_FAILED = "credential.failed"
    COMMENT_POSTED = "comment.posted"
    PARTICIPANT_JOINED = "participant.joined"
    PARTICIPANT_LEFT = "participant.left"
    SESSION_FORKED = "session.forked"
    SESSION_REWOUND = "session.rewound"
    SESSION_BUDGET_REACHED = "session.budget_reached"
    COMMAND_SENT = "command.sent"
    COMMAND_EXECUTED = "command.executed"
    COMMAND_FAILED = "command.failed"
    OUTPUT_RECEIVED = "output.received"
    ERROR_RECEIVED = "error.received"
    SYSTEM_TIMEOUT_WARNING = "system.timeout_warning"
    SYSTEM_RESOURCE_WARNING = "system.resource_warning"
    SYSTEM_CLEANUP = "system.cleanup"
    SYSTEM_SESSION_ERASED = "system.session_erased"


@dataclass(frozen=True, slots=True)
class EventDraft:
    """An event before the store numbers it. `output_seq` is the seq of the output that it reports, if any."""

    type: EventType
    payload: dict[str, Any] = field(default_factory=dict)
    output_seq: int | None = None
