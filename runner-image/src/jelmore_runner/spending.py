"""Calculates what the session has spent, over all processes of Claude Code. Pure.

Claude Code reports a running total. A process that exits on request saves it in the transcript, and the next process
continues from it. A killed process saves nothing: the next one continues from the last saved total, or from zero.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class Spending:
    """Amounts in US dollars."""

    spent_usd: float = 0.0  # by the session, over all processes
    process_usd: float = 0.0  # the running total of the current process, as last reported or as expected at its start
    saved_usd: float = 0.0  # the total that a resumed process is expected to start from

    def report(self, total_usd: object) -> float:
        """Take a running total and return the amount since the last one; 0 for anything that is not an amount."""
        if isinstance(total_usd, bool) or not isinstance(total_usd, int | float) or not 0 <= total_usd < 2**53:
            return 0.0
        delta = total_usd - self.process_usd if total_usd >= self.process_usd else total_usd
        self.process_usd = float(total_usd)
        self.spent_usd += delta
        return float(delta)

    def process_ended(self, *, saved: bool) -> None:
        """Expect the next process to continue from the current total if `saved`, else from the last saved one."""
        if saved:
            self.saved_usd = self.process_usd
        self.process_usd = self.saved_usd

    def conversation_started(self) -> None:
        """Expect the next total to start from zero: a fresh conversation has no saved total."""
        self.saved_usd = self.process_usd = 0.0

    def limit_for_next_process(self, budget_usd: float) -> float:
        """Return the limit on the running total that leaves the next process the rest of the budget; above zero."""
        return max(budget_usd - self.spent_usd, 0.0) + self.saved_usd or 1e-6


def saves_total(exit_code: object) -> bool:
    """Return whether a process with this exit code has saved its total. -N is signal N: it has not."""
    return isinstance(exit_code, int) and exit_code >= 0
