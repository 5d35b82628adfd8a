"""What a turn used, and where budgets make a session wait."""

from typing import Any

import pytest

from jelmore.session.usage import BudgetState, UsageSum, pause_at_usd, turn_usages, usage_of
from jelmore_protocol.events import EventKind
from tests.support.records import line

OPUS = {"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3, "cache_write_tokens": 4, "cost_usd": 0.5}
HAIKU = {"input_tokens": 9, "output_tokens": 9, "cost_usd": 0.1}


def test_a_turn_counts_once_for_the_model_that_cost_most() -> None:
    assert usage_of({"models": {"haiku": HAIKU, "opus": OPUS}, "cost_usd": 0.6}) == [
        UsageSum("haiku", 0, 9, 9, 0, 0, 0.1),
        UsageSum("opus", 1, 1, 2, 3, 4, 0.5),
    ]


def test_a_turn_without_a_model_used_nothing() -> None:
    assert usage_of({"models": {}, "cost_usd": 0, "usage": {"input_tokens": 5}}) == []
    assert usage_of({"models": {"opus": {"input_tokens": 0, "cost_usd": 0}}}) == []
    assert usage_of({}) == []


def test_an_older_runner_names_no_model() -> None:
    api = {"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 4}
    assert usage_of({"usage": api, "cost_usd": 0.5}) == [UsageSum("unknown", 1, 1, 2, 3, 4, 0.5)]


@pytest.mark.parametrize("bad", [-1, 2**60, "1", None, [], 1.5])
def test_what_is_no_number_of_tokens_counts_as_none(bad: object) -> None:
    found = usage_of({"models": {"opus": {**OPUS, "input_tokens": bad}, "bad": bad}})
    assert found == [UsageSum("opus", 1, 0, 2, 3, 4, 0.5)]


def test_only_ends_of_turns_are_counted_with_their_place() -> None:
    turn: dict[str, Any] = {"input_id": "i", "models": {"opus": OPUS}}
    outputs = [line(1, turn, EventKind.SAID), line(2, turn, EventKind.TURN_ENDED), line(3, {}, EventKind.TURN_ENDED)]
    assert [(each.seq, each.at, each.usage.name) for each in turn_usages(outputs)] == [(2, outputs[1].at, "opus")]


def test_the_tightest_budget_decides_and_a_used_up_one_stops_at_once() -> None:
    def budget(limit: float, spent: float) -> BudgetState:
        return BudgetState("key", "total", limit, spent)

    assert pause_at_usd(1.0, []) is None
    assert pause_at_usd(1.0, [budget(5, 1), budget(10, 8)]) == 3.0
    assert pause_at_usd(1.0, [budget(5, 1), budget(10, 12)]) == 1.0


def test_invented_numbers_of_tokens_do_not_make_the_sums_of_a_day_overflow() -> None:
    fields = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
    [used] = usage_of({"models": {"m": dict.fromkeys(fields, 2**53 - 1)}})
    most_turns = 100_000_000  # more than a session's output has room for
    assert all(getattr(used, name) * most_turns < 2**63 for name in fields)
