"""What the audit log says about acts over a WebSocket that fail."""

import asyncio
from typing import Any, cast
from uuid import uuid4

import pytest

from jelmore.api.audit_entries import audited
from jelmore.session.errors import ConflictError
from tests.unit.control.world import ADMIN


class Noted:
    """Keeps outcomes; stands in for the context of the application, of which `audited` uses only the log."""

    def __init__(self) -> None:
        self.services = self.audit = self
        self.outcomes: list[str] = []

    def note(self, entry: Any) -> None:
        self.outcomes.append(entry.outcome)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ConflictError("busy"), "conflict"),
        (ValueError("a fault"), "internal"),
        (asyncio.CancelledError(), "cancelled"),
    ],
)
def test_what_failed_is_never_called_accepted(error: BaseException, outcome: str) -> None:
    log = Noted()
    scope = {"path": "/x", "client": ("127.0.0.1", 1), "state": {"request_id": str(uuid4())}, "headers": []}
    with pytest.raises(type(error)), audited(cast("Any", log), scope, ADMIN, "send_input"):
        raise error
    with audited(cast("Any", log), scope, ADMIN, "send_input"):
        pass
    assert log.outcomes == [outcome, "accepted"]
