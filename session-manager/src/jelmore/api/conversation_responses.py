"""What was said in a session and what was seen of it, as the API shows it."""

from typing import Any

from pydantic import BaseModel, Field

from jelmore.api.responses import UtcTime
from jelmore.control.requests import Accepted
from jelmore.ports import Probe, StoredEvent
from jelmore.session.output import Output
from jelmore.session.states import WaitingFor
from jelmore_protocol.events import Pending


class InputShown(BaseModel):
    """An accepted input. `result` is Claude Code's result message when it was waited for and came in time.

    `pending` is what the agent asked instead, and `waiting_for` of which kind that is.
    """

    session_id: str
    input_id: str
    seq: int = Field(description="The seq of the output that records the input; `after=seq` gives what follows.")
    result: dict[str, Any] | None
    waiting_for: WaitingFor | None = None
    pending: Pending | None = None


class AnsweredShown(BaseModel):
    """An answer that counted."""

    session_id: str
    request_id: str
    seq: int


class PendingShown(BaseModel):
    """What the agent waits on."""

    session_id: str
    pending: list[Pending]


class OutputShown(BaseModel):
    """One numbered output, as it is on the live stream too."""

    type: str = "event"
    seq: int
    kind: str
    at: UtcTime
    data: dict[str, Any]


class EventShown(BaseModel):
    """One numbered event, as it is published on the bus too."""

    event_id: str
    event_type: str
    session_id: str
    timestamp: UtcTime
    seq: int
    version: int
    output_seq: int | None
    payload: dict[str, Any]


class ProbeShown(BaseModel):
    """One health check."""

    at: UtcTime
    healthy: bool
    latency_ms: float
    message: str


class ProbesShown(BaseModel):
    """A session's health and the newest checks, the newest first."""

    session_id: str
    status: str
    restarts: int
    checks: list[ProbeShown]


class LogsShown(BaseModel):
    """The last lines the runner printed; none when there is no container."""

    session_id: str
    lines: list[str]


def show_input(session_id: object, accepted: Accepted) -> InputShown:
    """Return an accepted input."""
    result = None if accepted.result is None else dict(accepted.result)
    asked = accepted.pending
    return InputShown(
        session_id=str(session_id),
        input_id=accepted.input_id,
        seq=accepted.seq,
        result=result,
        waiting_for=asked and WaitingFor(asked.waiting_for),
        pending=asked,
    )


def show_output(output: Output) -> OutputShown:
    """Return a stored output."""
    return OutputShown(seq=output.seq, kind=output.kind, at=output.at, data=output.data)


def show_event(event: StoredEvent) -> EventShown:
    """Return a stored event."""
    return EventShown(
        event_id=f"{event.session_id}:{event.seq}",
        event_type=event.type,
        session_id=str(event.session_id),
        timestamp=event.at,
        seq=event.seq,
        version=event.version,
        output_seq=event.output_seq,
        payload=dict(event.payload),
    )


def show_probe(probe: Probe) -> ProbeShown:
    """Return a health check."""
    return ProbeShown(at=probe.at, healthy=probe.healthy, latency_ms=round(probe.latency_ms, 3), message=probe.message)
