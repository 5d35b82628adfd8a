"""Decides what to do after Claude Code has ended. Pure, so every ending can be tested without a process."""

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
    """How one process of Claude Code ended. An `exit_code` of -N is signal N; None: it never ran, or is unknown."""

    started: bool
    resumed: bool
    exit_code: int | None
    text: str  # the last lines of its standard error, and the error of the SDK


class Conversation(Enum):
    """Which conversation the next start uses."""

    RESUME = auto()
    FRESH = auto()  # under the same id
    FRESH_ID = auto()  # under a new id, because remains of the old one block its id


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Start again after `delay_s` seconds. Only `counted` restarts count towards the limit."""

    delay_s: float
    conversation: Conversation
    counted: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """End this run for `reason`."""

    reason: str


def decide(ending: Ending, restarted_at: tuple[float, ...], now: float, switched: bool) -> StartAgain | GiveUp:
    """Return what to do next. `restarted_at` and `now` are seconds of the same clock.

    `switched` says that the start has already changed between resume and fresh once, which prevents an endless
    alternation. Every end that was not requested is treated as a failure, including exit code 0.
    """
    code = ending.exit_code
    if not ending.started:
        if ending.resumed and UNREADABLE in ending.text:
            return StartAgain(0.0, Conversation.FRESH_ID, counted=False)
        if ending.resumed and NO_TRANSCRIPT in ending.text:
            fresh = Conversation.FRESH_ID if switched else Conversation.FRESH
            return StartAgain(0.0, fresh, counted=False)
        if not ending.resumed and ID_IN_USE in ending.text:
            # An earlier run wrote a transcript. If a resume has already failed, that transcript is damaged.
            again = Conversation.FRESH_ID if switched else Conversation.RESUME
            return StartAgain(0.0, again, counted=False)
        if code is not None and 0 <= code <= SIGNALLED:
            return GiveUp("start_failed")  # a restart would fail the same way
    recent = [moment for moment in restarted_at if now - moment < WINDOW_S]
    if len(recent) >= MAX_RESTARTS:
        return GiveUp("agent_exited" if code == 0 else "restarts_exhausted")
    # A process that never started left the transcript unchanged.
    resume = ending.resumed or ending.started
    return StartAgain(BACKOFF_S[len(recent)], Conversation.RESUME if resume else Conversation.FRESH, counted=True)
