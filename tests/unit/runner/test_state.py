from itertools import product

import pytest

from jelmore_protocol.events import AgentState, WaitingFor
from jelmore_runner.state import (
    AgentGone,
    AgentReported,
    Asked,
    BackgroundChanged,
    BudgetChanged,
    Fact,
    HandedOver,
    InputAccepted,
    OtherTurnEnded,
    Resolved,
    Turn,
    TurnBegan,
    TurnEnded,
    View,
)

ACTIVE, WAITING = AgentState.ACTIVE, AgentState.WAITING_INPUT
PERMISSION = Asked("p", WaitingFor.PERMISSION)
QUESTION = Asked("q", WaitingFor.QUESTION)
FACTS: list[Fact] = [
    InputAccepted(),
    HandedOver("one"),
    TurnBegan(names_running=True),
    TurnBegan(names_running=False),
    OtherTurnEnded(),
    TurnEnded(),
    PERMISSION,
    QUESTION,
    Resolved("p"),
    Resolved("q"),
    AgentReported(True),
    AgentReported(False),
    BackgroundChanged(2),
    BudgetChanged(True),
    BudgetChanged(False),
    AgentGone(),
]


def after(*facts: Fact) -> Turn:
    turn = Turn()
    for fact in facts:
        turn = turn.after(fact)
    return turn


@pytest.mark.parametrize(
    ("facts", "view"),
    [
        ((), View(WAITING, WaitingFor.PROMPT, None)),
        ((InputAccepted(),), View(ACTIVE, None, None)),
        ((BudgetChanged(True),), View(WAITING, WaitingFor.BUDGET, None)),
        ((InputAccepted(), BudgetChanged(True)), View(WAITING, WaitingFor.BUDGET, None)),
        ((HandedOver("one"), BudgetChanged(True)), View(ACTIVE, None, "one")),
        ((HandedOver("one"), BudgetChanged(True), PERMISSION), View(WAITING, WaitingFor.PERMISSION, "one")),
        ((InputAccepted(), BudgetChanged(True), BudgetChanged(False)), View(ACTIVE, None, None)),
        ((InputAccepted(), HandedOver("one")), View(ACTIVE, None, "one")),
        ((InputAccepted(), HandedOver("one"), TurnEnded()), View(WAITING, WaitingFor.PROMPT, None)),
        ((InputAccepted(), InputAccepted(), HandedOver("one"), TurnEnded()), View(ACTIVE, None, None)),
        ((HandedOver("one"), AgentReported(True), TurnEnded()), View(ACTIVE, None, None)),
        ((AgentReported(True), TurnEnded(), AgentReported(False)), View(WAITING, WaitingFor.PROMPT, None)),
        ((HandedOver("one"), PERMISSION), View(WAITING, WaitingFor.PERMISSION, "one")),
        ((HandedOver("one"), QUESTION, PERMISSION), View(WAITING, WaitingFor.QUESTION, "one")),
        ((HandedOver("one"), QUESTION, PERMISSION, Resolved("q")), View(WAITING, WaitingFor.PERMISSION, "one")),
        ((HandedOver("one"), PERMISSION, Resolved("p")), View(ACTIVE, None, "one")),
        ((HandedOver("one"), PERMISSION, AgentGone()), View(WAITING, WaitingFor.PROMPT, None)),
        ((InputAccepted(), InputAccepted(), HandedOver("one"), AgentGone()), View(ACTIVE, None, None)),
        ((AgentReported(True),), View(ACTIVE, None, None)),
        ((BackgroundChanged(1),), View(WAITING, WaitingFor.PROMPT, None)),
    ],
)  # fmt: skip
def test_the_state_people_see(facts: tuple[Fact, ...], view: View) -> None:
    assert after(*facts).view == view


def test_every_sequence_of_facts_keeps_the_invariants() -> None:
    for facts in product(FACTS, repeat=4):
        turn = after(*facts)
        view = turn.view
        assert turn.queued >= 0
        assert (view.state is WAITING) == (view.waiting_for is not None)
        assert (view.waiting_for in {WaitingFor.PERMISSION, WaitingFor.QUESTION}) == bool(turn.asked)
        if view.waiting_for is WaitingFor.PROMPT:
            assert turn.running is None
            assert turn.queued == 0
            assert not turn.busy
        assert view.input_id == turn.running
        assert turn.message_input in {None, turn.running}


@pytest.mark.parametrize(
    ("facts", "message_input"),
    [
        ((HandedOver("one"),), None),
        ((HandedOver("one"), TurnBegan(False)), None),
        ((HandedOver("one"), TurnBegan(True)), "one"),
        ((HandedOver("one"), TurnBegan(False), TurnBegan(True)), "one"),
        ((HandedOver("one"), TurnBegan(True), TurnBegan(False)), "one"),
        ((HandedOver("one"), TurnBegan(False), OtherTurnEnded()), None),
        ((HandedOver("one"), TurnBegan(True), TurnEnded(), HandedOver("two")), None),
        ((TurnBegan(True), HandedOver("one")), None),
    ],
)  # fmt: skip
def test_messages_belong_to_an_input_whose_turn_has_started(facts: tuple[Fact, ...], message_input: str | None) -> None:
    assert after(*facts).message_input == message_input


def test_tasks_in_the_background_are_counted_until_they_or_the_agent_end() -> None:
    assert after(BackgroundChanged(1), BackgroundChanged(2), TurnEnded()).background == 2
    assert after(BackgroundChanged(2), BackgroundChanged(0)).background == 0
    assert after(BackgroundChanged(2), AgentGone()).background == 0


@pytest.mark.parametrize(
    "fact", [PERMISSION, Resolved("p"), AgentReported(True), TurnEnded(), BackgroundChanged(1), AgentGone()]
)
def test_a_repeated_fact_changes_nothing_more(fact: Fact) -> None:
    for facts in product(FACTS, repeat=2):
        once = after(*facts, fact)
        assert once.after(fact) == once
