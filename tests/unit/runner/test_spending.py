import pytest

from jelmore_runner.spending import ModelUsage, Spending, models_of


def test_totals_of_one_process_are_not_added_up() -> None:
    spending = Spending()
    assert [spending.report(total).cost_usd for total in (1.0, 1.5, 1.5)] == [1.0, 0.5, 0.0]
    assert spending.spent_usd == 1.5


def test_the_totals_of_a_killed_process_are_lost_and_those_of_a_stopped_one_continue() -> None:
    spending = Spending()
    spending.report(1.0)
    spending.process_ended(saved=False)
    assert spending.report(0.25).cost_usd == 0.25
    spending.process_ended(saved=True)
    assert spending.report(0.75).cost_usd == 0.5
    spending.process_ended(saved=False)  # continues from what was saved before
    assert spending.report(0.5).cost_usd == 0.25
    assert spending.spent_usd == 2.0


def test_a_process_that_did_not_continue_the_totals_starts_at_zero() -> None:
    spending = Spending()
    spending.report(1.0)
    spending.process_ended(saved=True)
    assert spending.report(0.25).cost_usd == 0.25


def test_the_remaining_budget_is_handed_on() -> None:
    spending = Spending()
    spending.report(1.0)
    spending.process_ended(saved=False)
    assert spending.limit_for_next_process(3.0) == 2.0
    spending.process_ended(saved=True)
    spending.report(0.5)
    spending.process_ended(saved=True)
    assert spending.limit_for_next_process(3.0) == 1.5 + 0.5
    spending.conversation_started()
    assert spending.limit_for_next_process(3.0) == 1.5
    assert spending.limit_for_next_process(1.0) > 0


@pytest.mark.parametrize("garbage", [None, "1", True, -1.0, float("nan"), float("inf")])
def test_what_is_no_amount_changes_nothing(garbage: object) -> None:
    spending = Spending()
    assert spending.report(garbage).cost_usd == 0.0
    assert spending.spent_usd == 0.0


def test_tokens_are_counted_by_model_over_processes_and_conversations() -> None:
    spending = Spending()

    def report(**models: int) -> dict[str, int]:
        spent = spending.report(0.0, {name: ModelUsage(input_tokens=tokens) for name, tokens in models.items()})
        return {name: usage.input_tokens for name, usage in spent.models.items()}

    assert report(opus=10) == {"opus": 10}
    assert report(opus=10, haiku=3) == {"haiku": 3}
    assert report(opus=15, haiku=3) == {"opus": 5}
    spending.process_ended(saved=True)
    assert report(opus=16, haiku=3) == {"opus": 1}, "a stopped process saved its totals"
    spending.process_ended(saved=False)
    assert report(opus=17, haiku=3) == {"opus": 2}, "a killed one did not: the next goes on from the saved ones"
    spending.process_ended(saved=False)
    assert report(opus=4) == {"opus": 4}, "or from zero"
    spending.conversation_started()
    assert report(opus=20) == {"opus": 20}


def test_usage_by_model_is_read_from_a_journal_within_bounds() -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3, "cache_write_tokens": 4, "cost_usd": 0.5}
    assert models_of({"opus": usage}) == {"opus": ModelUsage(1, 2, 3, 4, 0.5)}
    garbage = {"opus": {"input_tokens": -1, "output_tokens": "x", "cost_usd": float("nan")}, "haiku": 7}
    assert models_of(garbage) == {"opus": ModelUsage()}
    assert models_of([]) == models_of(None) == {}
    assert len(models_of({str(number): {} for number in range(100)})) == 20
    assert list(models_of({"x" * 1000: {}})) == ["x" * 128]
