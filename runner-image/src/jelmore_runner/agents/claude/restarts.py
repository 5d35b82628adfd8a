"""What to do when Claude Code is gone: pure, so that every ending can be tested without one."""

from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

MAX_RESTARTS: Final = 3
WINDOW_S: Final = 600.0
BACKOFF_S: Final = (0.0, 1.0, 5.0)
NO_TRANSCRIPT: Final = "No conversation found"
UNREADABLE: Final = "Failed to resume session"
ID_IN_USE: Final = "already in use"
SIGNALLED: Final = 128  # a program that handles signal N exits with 128 + N


@dataclass(frozen=True, slots=True)
class Ending:
    """How one life of Claude Code ended. `exit_code` of minus N is signal N; None when it never ran or is unknown."""

    started: bool
    resumed: bool
    exit_code: int | None
    text: str  # what it said last


class Conversation(Enum):
    """What the next start does about the conversation."""

    RESUME = auto()
    FRESH = auto()  # under the same id
    FRESH_ID = auto()  # under a new id: what is left of the old one is in the way


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Start once more after `delay_s`; `counted` restarts are limited."""

    delay_s: float
    conversation: Conversation
    counted: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This run is over."""

    reason: str


def decide(ending: Ending, restarted_at: tuple[float, ...], now: float, switched: bool) -> StartAgain | GiveUp:
    """Return the next move. `restarted_at` and `now` are seconds of one clock.

    `switched` says that resume and fresh start were swapped once already, so that the two cannot take turns for ever.
    Whatever ends Claude Code without being asked, its exit code 0 included, is a loss to recover from.
    """
    code = ending.exit_code
    if not ending.started:
        if ending.resumed and UNREADABLE in ending.text:
            return StartAgain(0.0, Conversation.FRESH_ID, counted=False)
        if ending.resumed and NO_TRANSCRIPT in ending.text:
            fresh = Conversation.FRESH_ID if switched else Conversation.FRESH
            return StartAgain(0.0, fresh, counted=False)
        if not ending.resumed and ID_IN_USE in ending.text:
            # An earlier run wrote something; it is damaged when a resume has failed already.
            again = Conversation.FRESH_ID if switched else Conversation.RESUME
            return StartAgain(0.0, again, counted=False)
        if code is not None and 0 <= code <= SIGNALLED:
            return GiveUp("start_failed")  # it would fail the same way again
    recent = [moment for moment in restarted_at if now - moment < WINDOW_S]
    if len(recent) >= MAX_RESTARTS:
        return GiveUp("agent_exited" if code == 0 else "restarts_exhausted")
    # A life that never began left the transcript as it was.
    resume = ending.resumed or ending.started
    return StartAgain(BACKOFF_S[len(recent)], Conversation.RESUME if resume else Conversation.FRESH, counted=True)
