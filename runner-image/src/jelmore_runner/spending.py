"""What the session has spent, over all processes of Claude Code: pure.

Claude Code reports a running total. A process that is asked to end saves it in the transcript and the next one goes on
from there; one that is killed saves nothing, and the next one goes on from what was saved before, or from zero.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Spending:
    """Amounts in US dollars."""

    spent_usd: float = 0.0  # by the session, over all processes
    process_usd: float = 0.0  # the running total of the current process, as last reported or as expected at its start
    saved_usd: float = 0.0  # what a resumed process is expected to start from

    def report(self, total_usd: object) -> float:
        """Take in a running total and return what has been spent since the last one. Ignores what is no amount."""
        if isinstance(total_usd, bool) or not isinstance(total_usd, int | float) or not 0 <= total_usd < 2**53:
            return 0.0
        delta = total_usd - self.process_usd if total_usd >= self.process_usd else total_usd
        self.process_usd = float(total_usd)
        self.spent_usd += delta
        return float(delta)

    def process_ended(self, *, saved: bool) -> None:
        """Expect the next process to go on from the current total, or from the last one that was saved."""
        if saved:
            self.saved_usd = self.process_usd
        self.process_usd = self.saved_usd

    def conversation_started(self) -> None:
        """Expect zero: a fresh conversation has no saved total."""
        self.saved_usd = self.process_usd = 0.0

    def limit_for_next_process(self, budget_usd: float) -> float:
        """Return the limit that leaves the next process what is left of the budget; always above zero."""
        return max(budget_usd - self.spent_usd, 0.0) + self.saved_usd or 1e-6


def saves_total(exit_code: object) -> bool:
    """Return whether a process with this exit code had the time to save its total. Minus N is signal N: it had not."""
    return isinstance(exit_code, int) and exit_code >= 0
