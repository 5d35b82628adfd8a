"""Counts of sessions and their total use at one moment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jelmore.session.resources import Totals
from jelmore.session.states import SessionStatus


@dataclass(frozen=True, slots=True)
class Stats:
    """Counts of the sessions a caller may see, and the slots of the deployment.

    `system` describes the whole deployment, for callers that see every session: free disk, events not yet published.
    """

    by_status: Mapping[SessionStatus, int]
    slots_used: int
    slots_total: int
    totals: Totals = field(default_factory=Totals)
    system: Mapping[str, Any] = field(default_factory=dict)

    def to_mapping(self) -> dict[str, Any]:
        """Return the statistics as the API presents them."""
        counts = {status.value: self.by_status.get(status, 0) for status in SessionStatus}
        return {
            "total": sum(counts.values()),
            "by_status": counts,
            "slots": {"used": self.slots_used, "total": self.slots_total},
            "resources": asdict(self.totals),
            **self.system,
        }
