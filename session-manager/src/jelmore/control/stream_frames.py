"""The frames that a reader of a session receives, as text, and what a relayed text is."""

import json
from dataclasses import dataclass
from typing import Literal

from jelmore.session.record import Session
from jelmore.session.states import Presence
from jelmore_protocol import OLDEST_PROTOCOL, PROTOCOL
from jelmore_protocol.events import Pending
from jelmore_protocol.frames import HelloFrame, StateFrame


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One frame for a reader. `kind` is hello, event, delta, state, attendance or end; only events have a `seq`."""

    kind: str
    seq: int | None
    text: str


def first_cursor(session: Session, after: int | None, *, certain: bool) -> tuple[int, Literal["ok", "gap"]]:
    """Return the seq after which a reader continues, and whether it has missed something or is of another history."""
    if after is None:
        return session.output_seq, "ok"
    if after > session.output_seq and not certain:
        return 0, "gap"  # the reader is ahead of the record: its seq is of another history, so send all
    return max(after, 0), "ok"


def is_delta(text: str) -> bool:
    """Return whether a frame that is no output is a delta."""
    return '"delta"' in text[:24]


def is_attendance(text: str) -> bool:
    """Return whether a frame says who has the session open."""
    return text.startswith('{"type": "attendance"')


def is_message(text: str) -> bool:
    """Return whether an output is a whole message of the agent."""
    return '"kind":"message"' in text[:64]


def hello_item(session: Session, resume: Literal["ok", "gap"]) -> StreamItem:
    """Return a reader's first frame."""
    frame = HelloFrame(
        protocol=PROTOCOL,
        oldest_protocol=OLDEST_PROTOCOL,
        session_id=str(session.id),
        resume=resume,
        seq=session.output_seq,
        state=session.status.value,
        waiting_for=session.waiting_for and session.waiting_for.value,
        pending=[Pending.model_validate(prompt) for prompt in session.pending],
        live=session.presence is Presence.AWAKE and not session.ended,
    )
    return StreamItem("hello", None, frame.model_dump_json())


def state_item(session: Session) -> StreamItem:
    """Return the frame of the session's state."""
    waiting_for = session.waiting_for and session.waiting_for.value
    frame = StateFrame(state=session.status.value, waiting_for=waiting_for)
    return StreamItem("state", None, frame.model_dump_json())


def end_item(session: Session) -> StreamItem:
    """Return the last frame of a session that has ended."""
    exit_code = session.failure.exit_code if session.failure else None
    body = {"type": "end", "status": session.status.value, "reason": session.end_reason, "exit_code": exit_code}
    return StreamItem("end", None, json.dumps(body))
