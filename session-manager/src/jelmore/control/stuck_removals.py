"""Notices a sandbox that its engine does not remove, so that it is reported once.

The removal is repeated for as long as it takes, by the reconciler and by the sweep. Until it succeeds, the session's
slot stays taken and no other sandbox of the session starts: two would write to one volume.
"""

import time
from typing import Final

from jelmore.session.errors import DependencyError
from jelmore.session.events import EventDraft, EventType
from jelmore.session.world import Sandbox

CODE: Final = "sandbox_not_removed"
STUCK_AFTER_S: Final = 60.0
MAX_REMEMBERED: Final = 1000


class StuckRemovals:
    """Remembers since when which sandbox has resisted its removal. Belongs to one manager."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}
        self._reported: set[str] = set()

    def failed(self, sandbox: Sandbox, error: DependencyError) -> EventDraft | None:
        """Note a failure of a removal; return the event that is due, None when it is too early or was reported.

        The sandbox counts as reported only after `reported`.
        """
        if len(self._since) >= MAX_REMEMBERED and sandbox.id not in self._since:
            return None
        began = self._since.setdefault(sandbox.id, time.monotonic())
        stuck_s = time.monotonic() - began
        if sandbox.id in self._reported or stuck_s < STUCK_AFTER_S:
            return None
        message = f"the engine has not removed {sandbox.id} for {stuck_s:.0f} s, and it is asked again: {error}"
        return EventDraft(EventType.ERROR_RECEIVED, {"code": CODE, "message": message, "container_id": sandbox.id})

    def reported(self, sandbox: Sandbox) -> None:
        """Report this sandbox no more."""
        self._reported.add(sandbox.id)

    def removed(self, sandbox: Sandbox) -> None:
        """Forget a sandbox that is gone. May run twice."""
        self._since.pop(sandbox.id, None)
        self._reported.discard(sandbox.id)
