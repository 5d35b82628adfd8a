"""Reconciles what turns report with what the gateway metered, so that a lost or hidden turn is counted all the same.

A turn reports what it used when it ends. If the agent or its container dies before, or the agent ends itself, the
model was paid for and no budget would know. The gateway saw those calls.
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

import structlog

from jelmore.ports.usage import UsageStore
from jelmore.session.errors import DependencyError

_log = structlog.get_logger(__name__)

_MOST: Final = 500
"""Sessions of one pass; those that wait longest come first."""


class MeteredUsage:
    """Adds unreported usage to the sums. `sweep` is a loop of one manager."""

    def __init__(self, usage: UsageStore, changed: Callable[[UUID], None]) -> None:
        self._usage = usage
        self._changed = changed

    async def sweep(self) -> None:
        """Compare what waits, and have the budgets of sessions looked at whose sums changed. May run at any time.

        A session that cannot be compared holds up no other. Raises DependencyError.
        """
        for session_id in await self._usage.unsettled(_MOST):
            try:
                changed = await self._usage.settle(session_id)
            except DependencyError:  # the store is away: it has no answer for the others either
                raise
            except Exception:  # noqa: BLE001 - a row that nobody understands must not hold up the others
                _log.exception("usage_not_compared", session_id=str(session_id))
                continue
            if changed:
                _log.info("unreported_usage_changed", session_id=str(session_id))
                self._changed(session_id)
