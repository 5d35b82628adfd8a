"""A manager may die before or after any call of any port, and any call may fail: the end is the same.

Exhaustive: every life is played once for each call that it makes and each way in which that call can go wrong.
"""

from collections.abc import Iterator

import pytest

from tests.support.log_settings import quiet
from tests.unit.control.crashing import Fault
from tests.unit.control.lives import LIVES, Life, essence, play


@pytest.fixture(autouse=True)
def quiet_logs() -> Iterator[None]:
    """Thousands of lives would log a million lines."""
    with quiet():
        yield


@pytest.mark.parametrize("fault", Fault, ids=lambda fault: fault.name.lower())
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
async def test_a_fault_at_every_call_changes_nothing(life: Life, fault: Fault) -> None:
    stage, expected, ending = await play(life, 0, None)
    number, most = 1, len(stage.calls)
    while number <= most:
        try:
            stage, result, session = await play(life, number, fault)
            assert result == expected
            assert essence(session) == essence(ending)
        except AssertionError as error:
            error.add_note(f"{fault}, at call {number} of {life.__name__}: {stage.calls[number - 1 : number]}")
            raise
        most = len(stage.calls) if number == most else most  # later calls may shift by what went wrong
        number += 1
    assert number > 15, "the life made calls"
