"""Response bodies of the conversation endpoints: inputs, output, events, health checks and logs."""

from typing import Any

from pydantic import BaseModel, Field

from jelmore.api.responses import UtcTime
from jelmore.control.requests import Accepted
from jelmore.ports import Probe, StoredEvent
from jelmore.session.output import Output
from jelmore.session.states import WaitingFor
from jelmore_protocol.control import Command
from jelmore_protocol.events import Pending


class InputResponse(BaseModel):
    """An accepted input. `result` is how the turn ended, when the request waited and it came in time.

    `result` has the fields of `turn_ended`; `type`, `is_error` and `result` (the text) are older names in it.
    With `waking`, the session is being resumed, and `seq` is the newest output before that of the input.
    `pending` is the permission or question that the agent asked first, and `waiting_for` its kind; `budget` says that
    the input waits until a budget is raised.
    """

    session_id: str
    input_id: str
    seq: int = Field(description="The seq of the output that records the input; `after=seq` gives what follows.")
    waking: bool = Field(
        default=False,
        description="The input is stored, and its hibernated session is being resumed for it. It has no output yet: "
        "`seq` is the newest output before it, so `after=seq` gives it and what follows.",
    )
    result: dict[str, Any] | None
    waiting_for: WaitingFor | None = None
    pending: Pending | None = None


class AnsweredResponse(BaseModel):
    """An accepted answer. `seq` is the output that records it, `by` the key that gave it."""

    session_id: str
    request_id: str
    seq: int
    by: str


class CommandsResponse(BaseModel):
    """The slash commands of a session's agent."""

    session_id: str
    commands: list[Command]


class PendingResponse(BaseModel):
    """The permissions and questions that the agent waits for."""

    session_id: str
    pending: list[Pending]


class OutputResponse(BaseModel):
    """A numbered output, in the same form as on the live stream."""

    type: str = "event"
    seq: int
    kind: str
    at: UtcTime
    data: dict[str, Any]


class EventResponse(BaseModel):
    """A numbered event, in the same form as published on NATS."""

    event_id: str
    event_type: str
    session_id: str
    timestamp: UtcTime
    seq: int
    version: int
    output_seq: int | None
    payload: dict[str, Any]


class ProbeResponse(BaseModel):
    """A health check."""

    at: UtcTime
    healthy: bool
    latency_ms: float
    message: str


class ProbesResponse(BaseModel):
    """A session's health and its last checks, newest first."""

    session_id: str
    status: str
    restarts: int
    checks: list[ProbeResponse]


class LogsResponse(BaseModel):
    """The last lines of the runner's log. Empty when the session has no container."""

    session_id: str
    lines: list[str]


def show_input(session_id: object, accepted: Accepted) -> InputResponse:
    """Convert an accepted input to its response."""
    result = None if accepted.result is None else dict(accepted.result)
    return InputResponse(
        session_id=str(session_id),
        input_id=accepted.input_id,
        seq=accepted.seq,
        waking=accepted.waking,
        result=result,
        waiting_for=accepted.waiting_for,
        pending=accepted.pending,
    )


def show_output(output: Output) -> OutputResponse:
    """Convert a stored output to its response."""
    return OutputResponse(seq=output.seq, kind=output.kind, at=output.at, data=output.data)


def show_event(event: StoredEvent) -> EventResponse:
    """Convert a stored event to its response."""
    return EventResponse(
        event_id=f"{event.session_id}:{event.seq}",
        event_type=event.type,
        session_id=str(event.session_id),
        timestamp=event.at,
        seq=event.seq,
        version=event.version,
        output_seq=event.output_seq,
        payload=dict(event.payload),
    )


def show_probe(probe: Probe) -> ProbeResponse:
    """Convert a health check to its response."""
    return ProbeResponse(
        at=probe.at, healthy=probe.healthy, latency_ms=round(probe.latency_ms, 3), message=probe.message
    )
