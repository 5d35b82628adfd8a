"""Which refusals are reported."""

from jelmore_gateway.egress.ledger import BURST, SAME_S, Ledger


def test_the_same_refusal_is_reported_once_a_minute() -> None:
    ledger = Ledger()
    assert ledger.admit("a:443", "host_not_allowed", 0) == 0
    assert ledger.admit("a:443", "host_not_allowed", 1) is None
    assert ledger.admit("a:443", "address_denied", 1) == 1
    assert ledger.admit("a:443", "host_not_allowed", SAME_S) == 0


def test_a_flood_of_different_refusals_is_thinned_and_counted() -> None:
    ledger = Ledger()
    reported = [ledger.admit(f"{number}.example:443", "host_not_allowed", 0) for number in range(1000)]
    assert [one for one in reported if one is not None] == [0] * BURST
    assert ledger.admit("late.example:443", "host_not_allowed", 60) == 1000 - BURST
