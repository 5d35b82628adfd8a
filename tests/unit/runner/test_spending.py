import pytest

from jelmore_runner.spending import Spending


def test_totals_of_one_process_are_not_added_up() -> None:
    spending = Spending()
    assert [spending.report(total) for total in (1.0, 1.5, 1.5)] == [1.0, 0.5, 0.0]
    assert spending.spent_usd == 1.5


def test_a_killed_process_begins_anew_and_a_stopped_one_goes_on() -> None:
    spending = Spending()
    spending.report(1.0)
    spending.process_ended(saved=False)
    assert spending.report(0.25) == 0.25
    spending.process_ended(saved=True)
    assert spending.report(0.75) == 0.5
    spending.process_ended(saved=False)  # goes on from what was saved before
    assert spending.report(0.5) == 0.25
    assert spending.spent_usd == 2.0


def test_a_process_that_did_not_go_on_as_expected_begins_at_zero() -> None:
    spending = Spending()
    spending.report(1.0)
    spending.process_ended(saved=True)
    assert spending.report(0.25) == 0.25


def test_the_rest_of_the_budget_is_handed_on() -> None:
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
    assert spending.report(garbage) == 0.0
    assert spending.spent_usd == 0.0
