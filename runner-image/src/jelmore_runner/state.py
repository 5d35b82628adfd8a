"""Derives the public state of the agent from facts. Pure.

Only this module decides between `active` and `waiting_input`, so that no two parts of the runner can disagree.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from jelmore_protocol.events import AgentState, WaitingFor


@dataclass(frozen=True, slots=True)
class InputAccepted:
    """A prompt was queued."""


@dataclass(frozen=True, slots=True)
class InputCancelled:
    """A queued prompt was removed."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The oldest queued prompt was given to Claude Code."""

    input_id: str


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """Claude Code has started a turn. `names_running`: it named the running input as part of it."""

    names_running: bool


@dataclass(frozen=True, slots=True)
class OtherTurnEnded:
    """A turn ended that was not the turn of the running input, for example after a background task."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The running input has its result, or will not get one."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The agent waits for an answer."""

    request_id: str
    waiting_for: WaitingFor


@dataclass(frozen=True, slots=True)
class Resolved:
    """A request was answered or withdrawn."""

    request_id: str


@dataclass(frozen=True, slots=True)
class AgentReported:
    """Claude Code reported (`session_state_changed`) whether it is busy."""

    busy: bool


@dataclass(frozen=True, slots=True)
class BackgroundChanged:
    """Claude Code reported how many background tasks (shells, agents) it runs."""

    tasks: int


@dataclass(frozen=True, slots=True)
class BudgetChanged:
    """A budget is used up, so that no input is given to the agent, or it is not."""

    held: bool


@dataclass(frozen=True, slots=True)
class SetupRuns:
    """The setup of the session runs, or the agent is being started after it. Inputs wait."""


@dataclass(frozen=True, slots=True)
class AgentStarted:
    """The agent takes inputs."""


@dataclass(frozen=True, slots=True)
class AgentGone:
    """The process ended, and with it its turn and its requests. Queued inputs stay."""


type Fact = (
    InputAccepted
    | InputCancelled
    | HandedOver
    | TurnBegan
    | OtherTurnEnded
    | TurnEnded
    | Asked
    | Resolved
    | AgentReported
    | BackgroundChanged
    | BudgetChanged
    | SetupRuns
    | AgentStarted
    | AgentGone
)


@dataclass(frozen=True, slots=True)
class View:
    """The state as journaled and published."""

    state: AgentState
    waiting_for: WaitingFor | None
    input_id: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """All values that the state depends on."""

    running: str | None = None  # the input given to Claude Code, which works on it once `started`
    started: bool = False  # a message of the current turn has named the running input
    other: bool = False  # the current turn is not the turn of the running input
    queued: int = 0
    busy: bool = False  # also true for work without an input, for example after a background task
    asked: tuple[Asked, ...] = ()
    held: bool = False  # a budget is used up: queued inputs stay queued
    setup: bool = False  # the setup of the session runs, or has just ended
    background: int = 0  # not part of the view: a server in the background does not block a prompt

    @property
    def message_input(self) -> str | None:
        """The input that the agent's messages belong to now. None while it works without an input."""
        return self.running if self.started else None

    @property
    def view(self) -> View:
        """The public state: a pending request (the oldest) comes before work, work before waiting for a prompt."""
        if self.asked:
            return View(AgentState.WAITING_INPUT, self.asked[0].waiting_for, self.running)
        if self.running is not None or self.busy or self.setup or (self.queued and not self.held):
            return View(AgentState.ACTIVE, None, self.running)
        if self.held:
            return View(AgentState.WAITING_INPUT, WaitingFor.BUDGET, None)
        return View(AgentState.WAITING_INPUT, WaitingFor.PROMPT, None)

    def after(self, fact: Fact) -> "Turn":
        """Return the turn after `fact`. Every fact is legal at any time."""
        match fact:
            case InputAccepted():
                return replace(self, queued=self.queued + 1)
            case InputCancelled():
                return replace(self, queued=max(0, self.queued - 1))
            case HandedOver(input_id):
                return replace(self, running=input_id, started=False, queued=max(0, self.queued - 1))
            case TurnBegan(names_running):
                return replace(self, started=self.started or names_running, other=not (self.started or names_running))
            case OtherTurnEnded():
                return replace(self, started=False, other=False)
            case TurnEnded():
                return replace(self, running=None, started=False, other=False)
            case Asked():
                return replace(self, asked=(*self._without(fact.request_id), fact))
            case Resolved(request_id):
                return replace(self, asked=self._without(request_id))
            case AgentReported(busy):
                return replace(self, busy=busy)
            case BackgroundChanged(tasks):
                return replace(self, background=tasks)
            case BudgetChanged(held):
                return replace(self, held=held)
            case SetupRuns():
                return replace(self, setup=True)
            case AgentStarted():
                return replace(self, setup=False)
            case AgentGone():
                return Turn(queued=self.queued, held=self.held)
            case _:
                assert_never(fact)

    def _without(self, request_id: str) -> tuple[Asked, ...]:
        return tuple(asked for asked in self.asked if asked.request_id != request_id)
