"""How a turn ended, independent of the agent: the data of `turn_ended`."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from jelmore_runner.spending import ModelUsage, Spending, Spent


@dataclass(frozen=True, slots=True)
class TurnResult:
    """The end of a turn as the agent reports it. None for anything it does not report."""

    failed: bool
    subtype: Any = None
    text: Any = None
    usage: Any = None
    errors: tuple[str, ...] = ()  # why a turn failed
    process_cost_usd: Any = None  # the running total of the agent's process
    process_models: Mapping[str, ModelUsage] = field(default_factory=dict)  # likewise, by model
    num_turns: Any = None
    duration_ms: Any = None
    structured_output: Any = None  # what the output schema of the session asks for


def turn_ended(result: TurnResult, input_id: str | None, spent: Spent, spending: Spending) -> dict[str, Any]:
    """Return the data of `turn_ended`. `spent` is what this turn used."""
    return {
        "input_id": input_id,
        "outcome": "failed" if result.failed else "completed",
        "subtype": result.subtype,
        "text": result.text,
        "errors": list(result.errors),
        "usage": result.usage,
        "cost_usd": spent.cost_usd,
        "models": {name: asdict(usage) for name, usage in spent.models.items()},
        "total_cost_usd": spending.spent_usd,
        "process_cost_usd": result.process_cost_usd,
        "process_models": {name: asdict(usage) for name, usage in result.process_models.items()},
        "num_turns": result.num_turns,
        "duration_ms": result.duration_ms,
        **({} if result.structured_output is None else {"structured_output": result.structured_output}),
    }


BUDGET_USED_UP = "error_max_budget_usd"


def budget_error(budget_usd: float) -> str:
    """Return the error text of a prompt that is not run because the budget is used up."""
    return f"Reached maximum budget (${budget_usd:g})"


def budget_used_up(budget_usd: float, process_cost_usd: float) -> dict[str, Any]:
    """Return the result message of a prompt that is not run because the budget is used up."""
    return {
        "type": "result",
        "subtype": BUDGET_USED_UP,
        "is_error": True,
        "num_turns": 0,
        "duration_ms": 0,
        "total_cost_usd": process_cost_usd,
        "errors": [budget_error(budget_usd)],
        "terminal_reason": "budget_exhausted",
    }
