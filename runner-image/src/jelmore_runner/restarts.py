"""What to do when Claude Code is gone: pure, so that every ending can be tested without one."""

from dataclasses import dataclass
from typing import Final

MAX_RESTARTS: Final = 3
WINDOW_S: Final = 600.0
BACKOFF_S: Final = (0.0, 1.0, 5.0)
NO_TRANSCRIPT: Final = "No conversation found"
ID_IN_USE: Final = "already in use"


@dataclass(frozen=True, slots=True)
class Ending:
    """How one life of Claude Code ended. `exit_code` of minus N is signal N; None when it never ran or is unknown."""

    started: bool
    resumed: bool
    exit_code: int | None
    text: str  # what it said last


@dataclass(frozen=True, slots=True)
class StartAgain:
    """Start once more after `delay_s`; `counted` restarts are limited."""

    delay_s: float
    resume: bool
    counted: bool


@dataclass(frozen=True, slots=True)
class GiveUp:
    """This run is over."""

    reason: str


def decide(ending: Ending, restarted_at: tuple[float, ...], now: float, switched: bool) -> StartAgain | GiveUp:
    """Return the next move. `restarted_at` and `now` are seconds of one clock.

    `switched` says that resume and fresh start were swapped once already, so that the two cannot take turns for ever.
    """
    if not ending.started:
        if not switched and ending.resumed and NO_TRANSCRIPT in ending.text:
            return StartAgain(0.0, resume=False, counted=False)  # it died before it wrote anything
        if not switched and not ending.resumed and ID_IN_USE in ending.text:
            return StartAgain(0.0, resume=True, counted=False)  # an earlier run did write something
        if ending.exit_code is not None and ending.exit_code >= 0:
            return GiveUp("start_failed")  # it would fail the same way again
    elif ending.exit_code == 0:
        return GiveUp("agent_exited")
    recent = [moment for moment in restarted_at if now - moment < WINDOW_S]
    if len(recent) >= MAX_RESTARTS:
        return GiveUp("restarts_exhausted")
    # A life that never began left the transcript as it was.
    return StartAgain(BACKOFF_S[len(recent)], resume=ending.resumed or ending.started, counted=True)
