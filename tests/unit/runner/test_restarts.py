import pytest

from jelmore_runner.agents.claude.restarts import Conversation, Ending, GiveUp, StartAgain, decide


def died(code: int | None = -9, *, started: bool = True, resumed: bool = False, text: str = "") -> Ending:
    return Ending(started, resumed, code, text)


def again(conversation: Conversation, delay_s: float = 0.0, *, counted: bool = True) -> StartAgain:
    return StartAgain(delay_s, conversation, counted)


@pytest.mark.parametrize("code", [-9, -3, 0, 1, 129, 130, 143, None])
def test_an_agent_that_nobody_stopped_is_started_again_with_its_conversation(code: int | None) -> None:
    assert decide(died(code), (), 0.0, False) == again(Conversation.RESUME)


def test_it_waits_longer_each_time_and_gives_up_after_three() -> None:
    assert decide(died(), (0.0,), 1.0, False) == again(Conversation.RESUME, 1.0)
    assert decide(died(), (0.0, 1.0), 2.0, False) == again(Conversation.RESUME, 5.0)
    assert decide(died(), (0.0, 1.0, 2.0), 3.0, False) == GiveUp("restarts_exhausted")
    assert decide(died(0), (0.0, 1.0, 2.0), 3.0, False) == GiveUp("agent_exited")


def test_old_restarts_are_forgiven() -> None:
    assert isinstance(decide(died(), (0.0, 1.0, 2.0), 700.0, False), StartAgain)


def test_a_start_that_fails_by_itself_is_not_repeated() -> None:
    assert decide(died(1, started=False, text="bad option"), (), 0.0, False) == GiveUp("start_failed")


@pytest.mark.parametrize("code", [-9, 143, None])
def test_a_start_that_was_killed_is_repeated(code: int | None) -> None:
    assert decide(died(code, started=False), (), 0.0, False) == again(Conversation.FRESH)


@pytest.mark.parametrize(
    ("resumed", "text", "first", "second"),
    [
        (True, "No conversation found with session ID: x", Conversation.FRESH, Conversation.FRESH_ID),
        (False, "Session ID x is already in use.", Conversation.RESUME, Conversation.FRESH_ID),
        (True, "Failed to resume session: EISDIR", Conversation.FRESH_ID, Conversation.FRESH_ID),
    ],
)
def test_what_is_left_of_a_conversation_never_keeps_the_agent_from_starting(
    resumed: bool, text: str, first: Conversation, second: Conversation
) -> None:
    ending = died(1, started=False, resumed=resumed, text=text)
    assert decide(ending, (), 0.0, False) == again(first, counted=False)
    assert decide(ending, (), 0.0, True) == again(second, counted=False)
