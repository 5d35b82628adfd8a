"""What the agent is doing, as a pure value: facts go in, the state that people see comes out.

The one place that decides between `active` and `waiting_input`, so that no two parts of the runner can disagree.
"""

from dataclasses import dataclass, replace
from typing import assert_never

from jelmore_protocol.events import AgentState, WaitingFor


@dataclass(frozen=True, slots=True)
class InputAccepted:
    """A prompt was queued."""


@dataclass(frozen=True, slots=True)
class HandedOver:
    """The oldest queued prompt is in Claude Code's callbacks."""

    input_id: str


@dataclass(frozen=True, slots=True)
class TurnBegan:
    """Claude Code has begun a turn for these prompts, named by their uuids; for none of ours when it woke by itself."""

    names_running: bool


@dataclass(frozen=True, slots=True)
class OtherTurnEnded:
    """A turn ended that was not the running prompt's: that of a background task, for example."""


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The running prompt has its result, or never will."""


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
    """Claude Code's own word (`session_state_changed`): it works on something, or on nothing."""

    busy: bool


@dataclass(frozen=True, slots=True)
class BackgroundChanged:
    """Claude Code's own count of the tasks that it runs beside its turns: shells, agents."""

    tasks: int


@dataclass(frozen=True, slots=True)
class AgentGone:
    """The process ended: whatever it did or asked is void. Queued prompts stay."""


type Fact = (
    InputAccepted
    | HandedOver
    | TurnBegan
    | OtherTurnEnded
    | TurnEnded
    | Asked
    | Resolved
    | AgentReported
    | BackgroundChanged
    | AgentGone
)


@dataclass(frozen=True, slots=True)
class View:
    """The state as journaled and shown."""

    state: AgentState
    waiting_for: WaitingFor | None
    input_id: str | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Everything the state depends on."""

    running: str | None = None  # the input handed to Claude Code; it works on it once `begun`
    begun: bool = False  # a message of the current turn has named the running input
    other: bool = False  # the current turn is not the running input's
    queued: int = 0
    busy: bool = False  # also true for work nobody typed: a background task woke the agent
    asked: tuple[Asked, ...] = ()
    background: int = 0  # no part of the view: a server left running does not keep the agent from a prompt

    @property
    def speaker(self) -> str | None:
        """The input that the agent's messages belong to now. None while it works on something nobody typed."""
        return self.running if self.begun else None

    @property
    def view(self) -> View:
        """Asking beats working, working beats waiting; the oldest request names what is waited for."""
        if self.asked:
            return View(AgentState.WAITING_INPUT, self.asked[0].waiting_for, self.running)
        if self.running is not None or self.queued or self.busy:
            return View(AgentState.ACTIVE, None, self.running)
        return View(AgentState.WAITING_INPUT, WaitingFor.PROMPT, None)

    def after(self, fact: Fact) -> "Turn":
        """Return the turn as `fact` leaves it. Any fact is legal at any moment; a repeated one changes nothing more."""
        match fact:
            case InputAccepted():
                return replace(self, queued=self.queued + 1)
            case HandedOver(input_id):
                return replace(self, running=input_id, begun=False, queued=max(0, self.queued - 1))
            case TurnBegan(names_running):
                return replace(self, begun=self.begun or names_running, other=not (self.begun or names_running))
            case OtherTurnEnded():
                return replace(self, begun=False, other=False)
            case TurnEnded():
                return replace(self, running=None, begun=False, other=False)
            case Asked():
                return replace(self, asked=(*self._without(fact.request_id), fact))
            case Resolved(request_id):
                return replace(self, asked=self._without(request_id))
            case AgentReported(busy):
                return replace(self, busy=busy)
            case BackgroundChanged(tasks):
                return replace(self, background=tasks)
            case AgentGone():
                return replace(self, running=None, begun=False, other=False, busy=False, asked=(), background=0)
            case _:
                assert_never(fact)

    def _without(self, request_id: str) -> tuple[Asked, ...]:
        return tuple(asked for asked in self.asked if asked.request_id != request_id)
