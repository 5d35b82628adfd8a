"""What the fault tests call a whole tail."""

from types import SimpleNamespace
from typing import cast

import pytest

from tests.chaos.invariants import check_tail
from tests.chaos.notebook import Notebook
from tests.chaos.truth import Truth
from tests.chaos.workload import Busy

OUTPUT = [(seq, f"line {seq}") for seq in range(1, 10)]


def finds(tail: list[tuple[int, str]], *, wiped: bool) -> bool:
    """Return whether something is wrong with a tail beside nine lines of output."""
    journal = [{"seq": seq} for seq, _ in OUTPUT]
    truth = Truth(row={}, journal=journal, ledger="", output=OUTPUT, tail=tail, events=[], unpublished=0)
    notebook = Notebook()
    check_tail(cast("Busy", SimpleNamespace(id="one")), truth, wiped=wiped, notebook=notebook)
    return bool(notebook.findings)


@pytest.mark.parametrize("wiped", [False, True])
def test_a_tail_is_the_newest_without_a_hole(wiped: bool) -> None:
    assert not finds(OUTPUT, wiped=wiped)
    assert not finds(OUTPUT[5:], wiped=wiped)
    assert finds(OUTPUT[:5], wiped=wiped)
    assert finds(OUTPUT[:3] + OUTPUT[6:], wiped=wiped)
    assert finds([*OUTPUT[:-1], (9, "another line")], wiped=wiped)
    assert finds([], wiped=wiped) is not wiped
