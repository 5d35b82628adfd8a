"""Entries of the audit log, from requests and from what clients do over a WebSocket."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from starlette.types import Scope

from jelmore.api.peers import client_address
from jelmore.api.services import Context
from jelmore.control.requests import Caller
from jelmore.ports.operator import AuditEntry
from jelmore.session.errors import JelmoreError

_MAX_NOTED: Final = 512
ACCEPTED: Final = "accepted"
_CANCELLED: Final = "cancelled"
_INTERNAL: Final = "internal"


def audit_entry(scope: Scope, caller: Caller, action: str, outcome: str) -> AuditEntry:
    """Return the entry of what this caller did: `action` is an operation id, `outcome` a status or a word."""
    return AuditEntry(
        at=datetime.now(UTC),
        actor=caller.subject,
        actor_name=caller.key.name,
        action=action,
        target=scope["path"][:_MAX_NOTED],
        outcome=outcome,
        remote=client_address(scope),
        request_id=scope["state"]["request_id"],
    )


@contextmanager
def audited(context: Context, scope: Scope, caller: Caller, action: str) -> Iterator[None]:
    """Note an act over a WebSocket under the operation id of the request that does the same.

    Its outcome is `accepted`, the code of the error that was raised, or `cancelled` when nobody waited for the end.
    """
    outcome = _CANCELLED
    try:
        yield
        outcome = ACCEPTED
    except JelmoreError as error:
        outcome = error.code
        raise
    except Exception:
        outcome = _INTERNAL
        raise
    finally:
        context.services.audit.note(audit_entry(scope, caller, action, outcome))
