"""Calculates what the session has spent, over all processes of Claude Code. Pure.

Claude Code reports running totals: the cost, and per model the tokens and the cost. A process that exits on request
saves them in the transcript, and the next process continues from them. A killed process saves nothing: the next one
continues from the last saved totals, or from zero. `/clear` starts a new conversation, whose totals begin at zero.
"""

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, replace
from itertools import islice
from typing import Any, Final

_MOST: Final = 2**53
_MAX_MODELS: Final = 20
_MAX_CHARACTERS: Final = 128


@dataclass(frozen=True, slots=True)
class ModelUsage:
    """What one model was used for: tokens, and US dollars."""

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0

    def since(self, earlier: "ModelUsage") -> "ModelUsage":
        """Return what was added since an earlier running total; all of it when the total was reset meanwhile."""
        pairs = list(zip(astuple(self), astuple(earlier), strict=True))
        if any(now < before for now, before in pairs):
            return self
        return ModelUsage(*(now - before for now, before in pairs))

    @property
    def is_used(self) -> bool:
        """Whether there is anything in it."""
        return any(astuple(self))


@dataclass(frozen=True, slots=True)
class Spent:
    """What was spent since the last report."""

    cost_usd: float = 0.0
    models: Mapping[str, ModelUsage] = field(default_factory=dict)


@dataclass(slots=True)
class Spending:
    """Amounts in US dollars, and per model the tokens and the amount."""

    spent_usd: float = 0.0  # by the session, over all processes
    process_usd: float = 0.0  # the running total of the current process, as last reported or as expected at its start
    saved_usd: float = 0.0  # the total that a resumed process is expected to start from
    process_models: dict[str, ModelUsage] = field(default_factory=dict)  # as `process_usd`, by model
    saved_models: dict[str, ModelUsage] = field(default_factory=dict)  # as `saved_usd`, by model

    def report(self, total_usd: object, models: Mapping[str, ModelUsage] | None = None) -> Spent:
        """Take running totals and return what was spent since the last ones; no cost for what is not an amount."""
        spent = {
            name: usage.since(self.process_models.get(name, ModelUsage())) for name, usage in (models or {}).items()
        }
        self.process_models |= models or {}
        used = {name: usage for name, usage in spent.items() if usage.is_used}
        if isinstance(total_usd, bool) or not isinstance(total_usd, int | float) or not 0 <= total_usd < _MOST:
            return Spent(models=used)
        delta = total_usd - self.process_usd if total_usd >= self.process_usd else total_usd
        self.process_usd = float(total_usd)
        self.spent_usd += delta
        return Spent(float(delta), used)

    def process_ended(self, *, saved: bool) -> None:
        """Expect the next process to continue from the current totals if `saved`, else from the last saved ones."""
        if saved:
            self.saved_usd, self.saved_models = self.process_usd, dict(self.process_models)
        self.process_usd, self.process_models = self.saved_usd, dict(self.saved_models)

    def conversation_started(self) -> None:
        """Expect the next totals to start from zero: a fresh conversation has no saved ones."""
        self.saved_usd = self.process_usd = 0.0
        self.saved_models, self.process_models = {}, {}

    def limit_for_next_process(self, budget_usd: float) -> float:
        """Return the limit on the running total that leaves the next process the rest of the budget; above zero."""
        return max(budget_usd - self.spent_usd, 0.0) + self.saved_usd or 1e-6

    def copy(self) -> "Spending":
        """Return a copy that changes by itself."""
        return replace(self, process_models=dict(self.process_models), saved_models=dict(self.saved_models))


def models_of(data: object) -> dict[str, ModelUsage]:
    """Return usage by model from JSON whose fields are those of `ModelUsage`. Anything else counts as zero."""
    if not isinstance(data, Mapping):
        return {}
    found = {}
    for name, usage in islice(data.items(), _MAX_MODELS):
        if isinstance(name, str) and isinstance(usage, Mapping):
            tokens = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
            values = {each: int(_amount(usage.get(each))) for each in tokens}
            found[name[:_MAX_CHARACTERS]] = ModelUsage(**values, cost_usd=_amount(usage.get("cost_usd")))
    return found


def _amount(value: Any) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return value if is_number and 0 <= value < _MOST else 0


def saves_total(exit_code: object) -> bool:
    """Return whether a process with this exit code has saved its total. -N is signal N: it has not."""
    return isinstance(exit_code, int) and exit_code >= 0
