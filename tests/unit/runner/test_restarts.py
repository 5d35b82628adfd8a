import pytest

from jelmore_runner.restarts import Ending, GiveUp, StartAgain, decide


def died(code: int | None = -9, *, started: bool = True, resumed: bool = False, text: str = "") -> Ending:
    return Ending(started, resumed, code, text)


def test_a_killed_agent_is_started_again_with_its_conversation() -> None:
    assert decide(died(), (), 0.0, False) == StartAgain(0.0, resume=True, counted=True)


def test_it_waits_longer_each_time_and_gives_up_after_three() -> None:
    assert decide(died(), (0.0,), 1.0, False) == StartAgain(1.0, resume=True, counted=True)
    assert decide(died(), (0.0, 1.0), 2.0, False) == StartAgain(5.0, resume=True, counted=True)
    assert decide(died(), (0.0, 1.0, 2.0), 3.0, False) == GiveUp("restarts_exhausted")


def test_old_restarts_are_forgiven() -> None:
    assert isinstance(decide(died(), (0.0, 1.0, 2.0), 700.0, False), StartAgain)


def test_a_clean_exit_is_the_end() -> None:
    assert decide(died(0), (), 0.0, False) == GiveUp("agent_exited")


def test_a_start_that_fails_by_itself_is_not_repeated() -> None:
    assert decide(died(1, started=False, text="bad option"), (), 0.0, False) == GiveUp("start_failed")


def test_a_start_that_was_killed_is_repeated() -> None:
    assert decide(died(-9, started=False), (), 0.0, False) == StartAgain(0.0, resume=False, counted=True)


@pytest.mark.parametrize(
    ("resumed", "text"),
    [(True, "No conversation found with session ID: x"), (False, "Session ID x is already in use.")],
)
def test_resume_and_fresh_start_stand_in_for_each_other_once(resumed: bool, text: str) -> None:
    ending = died(1, started=False, resumed=resumed, text=text)
    assert decide(ending, (), 0.0, False) == StartAgain(0.0, resume=not resumed, counted=False)
    assert decide(ending, (), 0.0, True) == GiveUp("start_failed")
