"""What `next_step` may answer: an act on the world, a fact for the record, a request to end, a warning, or a wait."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from jelmore.session.record import Detail
from jelmore.session.states import Fact


class Act(StrEnum):
    """A change of the world. Acts do not write the record; the next pass observes their result."""

    START = "start"  # create and start the container of this generation
    INIT = "init"  # give the dormant runner its identity and options
    ATTACH = "attach"  # follow its output
    DELIVER = "deliver"  # send it the inputs that were accepted without it
    PUBLISH = "publish"  # route the URL to the runner
    PUBLISH_TO_MANAGER = "publish_to_manager"  # route the URL to the manager
    WITHDRAW = "withdraw"
    DRAIN = "drain"  # ask the runner to disconnect its clients and accept no more, unless a turn runs
    UNDRAIN = "undrain"  # ask the runner to accept clients again
    PAUSE = "pause"
    UNPAUSE = "unpause"
    STOP = "stop"  # ask the runner to end the agent
    REMOVE = "remove"  # remove the container, keep the volume


@dataclass(frozen=True, slots=True)
class RecordFact:
    """A fact to record."""

    fact: Fact
    detail: Detail = field(default_factory=Detail)


@dataclass(frozen=True, slots=True)
class RequestEnd:
    """Request the end of the session because a timer expired. Saved only if the record has not changed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Announce, once per idle period, that the session will end at `expires_at`."""

    expires_at: datetime


@dataclass(frozen=True, slots=True)
class HandOver:
    """Record that a runner may have the pending inputs from now on: only it can change or cancel them."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do. Decide again after `seconds`; None waits for a trigger (or the sweep)."""

    seconds: float | None = None


Step = Act | RecordFact | RequestEnd | Warn | HandOver | Wait
