"""What turns used: tokens and cost by model, and how budgets limit what a session may spend. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, Final

from jelmore.session.output import MOST, Output

UNKNOWN_MODEL: Final = "unknown"
_MAX_MODELS: Final = 20
_MAX_CHARACTERS: Final = 128
_MAX_TOKENS: Final = 10**10
"""Of one turn. Days are summed as 64-bit numbers: a sandbox that invents larger ones would make them overflow, and then
no output of any session of its owner could be stored.
"""


@dataclass(frozen=True, slots=True)
class UsageSum:
    """What was used, by a turn or by many. `name` is the model, day, user, key or session; empty where not known."""

    name: str
    turns: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    cost_usd: float = 0.0


@dataclass(frozen=True, slots=True)
class TurnUsage:
    """What the turn used of one model that output `seq` ended.

    `turns` is 1 for the model that cost most, so that turns can be summed.
    """

    seq: int
    at: datetime
    usage: UsageSum


def turn_usages(outputs: Iterable[Output]) -> list[TurnUsage]:
    """Return what each turn that ends in `outputs` used, by model. Turns that called no model are left out."""
    ended = [output for output in outputs if output.kind == "turn_ended"]
    return [TurnUsage(output.seq, output.at, used) for output in ended for used in usage_of(output.data)]


def usage_of(turn: Mapping[str, Any]) -> list[UsageSum]:
    """Return what a turn used, by model, from the data of `turn_ended`; empty when it called no model."""
    by_model = turn.get("models")
    if isinstance(by_model, dict):
        models = islice(by_model.items(), _MAX_MODELS)
        found = [_usage(name, used, used.get("cost_usd")) for name, used in models if isinstance(used, dict)]
    else:  # of an older runner
        found = [_usage(UNKNOWN_MODEL, _of_api(turn.get("usage")), turn.get("cost_usd"))]
    used = [each for each in found if each.cost_usd or each.input_tokens or each.output_tokens]
    if not used:
        return []
    main = max(used, key=lambda each: (each.cost_usd, each.output_tokens))
    return [replace(each, turns=1) if each is main else each for each in used]


def _of_api(usage: object) -> dict[str, Any]:
    """Return the `usage` of the Messages API with our names."""
    given = usage if isinstance(usage, dict) else {}
    cache = {"cache_read_tokens": "cache_read_input_tokens", "cache_write_tokens": "cache_creation_input_tokens"}
    same = {name: given.get(name) for name in ("input_tokens", "output_tokens")}
    return {**same, **{ours: given.get(theirs) for ours, theirs in cache.items()}}


def _usage(model: str, used: Mapping[str, Any], cost_usd: object) -> UsageSum:
    tokens = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    counts = {name: min(count(used.get(name)), _MAX_TOKENS) for name in tokens}
    return UsageSum(model[:_MAX_CHARACTERS] or UNKNOWN_MODEL, **counts, cost_usd=amount(cost_usd))


def amount(value: object) -> float:
    """Return `value` as an amount in US dollars; 0 when it is not a valid amount."""
    return float(value) if isinstance(value, int | float) and 0 <= value < MOST else 0.0


def count(value: object) -> int:
    """Return `value` as a number of tokens; 0 when it is not a valid number."""
    return value if isinstance(value, int) and 0 <= value < MOST else 0


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget that covers a session, with what was spent of it by all that it covers."""

    scope: str  # session, key or user
    period: str  # total or day
    limit_usd: float
    spent_usd: float


def pause_at_usd(spent_usd: float, budgets: Iterable[BudgetState]) -> float | None:
    """Return the spending at which a session that has spent `spent_usd` waits; None without a budget.

    A used-up budget gives the present spending, so that no further turn begins.
    """
    left = [max(budget.limit_usd - budget.spent_usd, 0.0) for budget in budgets]
    return spent_usd + min(left) if left else None
