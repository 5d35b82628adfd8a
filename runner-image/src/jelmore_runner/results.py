"""Claude Code's results, and the neutral fact that a result stands for."""

from collections.abc import Mapping
from typing import Any

from jelmore_runner.spending import Spending


def turn_ended(result: Mapping[str, Any], input_id: str | None, cost_usd: float, spending: Spending) -> dict[str, Any]:
    """Return the data of `turn_ended`. `cost_usd` is what this turn has cost."""
    subtype = result.get("subtype")
    failed = bool(result.get("is_error")) or str(subtype or "").startswith("error")
    return {
        "input_id": input_id,
        "outcome": "failed" if failed else "completed",
        "subtype": subtype,
        "text": result.get("result"),
        "usage": result.get("usage"),
        "cost_usd": cost_usd,
        "total_cost_usd": spending.spent_usd,
        "num_turns": result.get("num_turns"),
        "duration_ms": result.get("duration_ms"),
    }


def budget_used_up(budget_usd: float, total_cost_usd: float, uuid: str) -> dict[str, Any]:
    """Return the result that Claude Code gives to a prompt when its budget is used up."""
    return {
        "type": "result",
        "subtype": "error_max_budget_usd",
        "is_error": True,
        "num_turns": 0,
        "duration_ms": 0,
        "total_cost_usd": total_cost_usd,
        "errors": [f"Reached maximum budget (${budget_usd:g})"],
        "terminal_reason": "budget_exhausted",
        "user_message_uuids": [uuid],
    }
