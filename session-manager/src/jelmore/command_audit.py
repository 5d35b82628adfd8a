"""Entries of the audit log about what was done on the command line, without a request."""

from datetime import UTC, datetime
from typing import Final

from jelmore.ports.operator import AuditEntry

ACTOR: Final = "command line"


def command_entry(action: str, target: str, outcome: str) -> AuditEntry:
    """Return the entry of what a command does now; `outcome` is a word."""
    return AuditEntry(
        at=datetime.now(UTC),
        actor=ACTOR,
        actor_name=ACTOR,
        action=action,
        target=target,
        outcome=outcome,
        remote="",
        request_id="",
    )
