"""How many requests for a permission or an answer a session may have, and how many in a while. Pure.

The program that asks belongs to the agent's user, and what runs as this user can ask in its name: without a bound, it
could fill the journal, which never cuts a request, and the memory of all who hold what is pending.
"""

from dataclasses import dataclass, field
from typing import Final

from jelmore_runner.output_budget import BURST_BYTES, BYTES_PER_S, OutputBudget
from jelmore_runner.supervisor import ReportLimit

MAX_OPEN: Final = 100
LEAST_BYTES: Final = 64 * 1024
"""What a request counts for at least: 1,024 at once and 16 a second after that."""

CODE: Final = "too_many_requests"


def _unlimited_in_all() -> OutputBudget:
    return OutputBudget(total_bytes=2**62, bytes_per_s=BYTES_PER_S, burst_bytes=BURST_BYTES)


@dataclass(slots=True)
class RequestBounds:
    """The bounds of one session."""

    _budget: OutputBudget = field(default_factory=_unlimited_in_all)
    _reports: ReportLimit = field(default_factory=ReportLimit)

    def refusal(self, pending: int, size: int, now_s: float) -> str | None:
        """Return why one more request of `size` bytes is denied at once; None when it may be asked."""
        if pending >= MAX_OPEN:
            return f"{pending} requests of this session wait for an answer already"
        if not self._budget.take(max(size, LEAST_BYTES), now_s):
            return "this session asks too much at once; wait a little"
        return None

    def report(self, why: str, now_s: float) -> str | None:
        """Return what to journal about a denial; None when that was said lately."""
        left_out = self._reports.due(now_s)
        if left_out is None:
            return None
        more = f" ({left_out} earlier ones were not reported)" if left_out else ""
        return f"a request was denied without asking anybody: {why}{more}"
