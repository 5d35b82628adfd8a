"""How records become rows and rows records. Pure.

Rows may have been written by older or newer code: what this code does not know is ignored, what is missing is default.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from typing import Any, Protocol

from jelmore.drivers.plain_text import clean_text, storable_json, storable_text, to_json
from jelmore.ports import ApiKey, Probe, Role, StoredEvent
from jelmore.session.errors import InvalidRequestError
from jelmore.session.events import EventDraft
from jelmore.session.limits import Limits
from jelmore.session.output import Output
from jelmore.session.record import Failure, Session, Spec, Timing, Usage
from jelmore.session.resources import Measurement, Resources
from jelmore.session.states import Presence, SessionStatus, WaitingFor, Wanted


class Row(Protocol):
    """A row as the library gives it."""

    def __getitem__(self, column: str, /) -> Any:
        """Return a column's value."""


def storable(session: Session) -> Session:
    """Return the session as it can be stored: what the agent said is mended, what a caller said is refused.

    Raises InvalidRequestError naming the field.
    """
    for name in ("owner", "title"):
        value = getattr(session, name)
        if value is not None and not storable_text(value):
            raise InvalidRequestError(f"{name}: may not contain NUL or half a surrogate pair")
    if not storable_json(session.metadata):
        raise InvalidRequestError("metadata: may not contain NUL, half a surrogate pair or a number without a value")
    spec = asdict(session.spec)
    for name, value in spec.items():
        if not storable_json(value):
            raise InvalidRequestError(f"{name}: may not contain NUL, half a surrogate pair or a number without a value")
    said = {name: getattr(session, name) for name in ("current_directory", "end_reason", "container_id")}
    mended: dict[str, Any] = {
        name: clean_text(value) for name, value in said.items() if value and not storable_text(value)
    }
    for name in ("pending", "unanswered"):
        prompts = getattr(session, name)
        if prompts and not storable_json(prompts):
            mended[name] = tuple(json.loads(to_json(prompts)))
    failure = session.failure
    if failure is not None:
        tail = tuple(map(clean_text, failure.log_tail))
        failure = replace(failure, message=clean_text(failure.message), log_tail=tail)
    return replace(session, failure=failure, **mended)


def session_values(session: Session, drafts: Sequence[EventDraft]) -> list[object]:
    """Return the parameters $1 to $33 of the queries `create` and `save`."""
    return [
        session.id,
        session.version,
        session.owner,
        session.spec.user_id,
        session.status.value,
        session.wanted.value,
        session.presence.value,
        session.waiting_for and session.waiting_for.value,
        session.generation,
        session.output_seq,
        session.restarts,
        session.created_at,
        session.last_activity_at,
        session.since,
        session.restarted_at,
        session.warned_at,
        session.ended_at,
        session.end_reason,
        session.container_id,
        session.agent_pid,
        session.current_directory,
        session.title,
        session.archived,
        to_json(session.metadata),
        to_json(asdict(session.spec)),
        to_json(asdict(session.usage)),
        [draft.type.value for draft in drafts],
        [to_json(draft.payload) for draft in drafts],
        [draft.output_seq for draft in drafts],
        to_json(asdict(session.failure)) if session.failure else None,
        to_json(list(session.pending)),
        _resources_json(session.resources),
        to_json(list(session.unanswered)),
    ]


def output_values(outputs: Sequence[Output]) -> list[object]:
    """Return the parameters $34 to $37 of the query `save`."""
    return [
        [output.seq for output in outputs],
        [clean_text(output.kind) for output in outputs],
        [output.at for output in outputs],
        [output.text if storable_text(output.text) else clean_text(output.text) for output in outputs],
    ]


def session_of(row: Row) -> Session:
    """Return the session of a row of `sessions`."""
    failure = row["failure"] and _build(Failure, json.loads(row["failure"]))
    if failure:
        failure = replace(failure, log_tail=tuple(failure.log_tail))
    same = {
        field.name: row[field.name]
        for field in fields(Session)
        if field.name
        not in {
            "spec",
            "metadata",
            "usage",
            "failure",
            "status",
            "wanted",
            "presence",
            "waiting_for",
            "pending",
            "resources",
            "unanswered",
        }
    }
    return Session(
        **same,
        status=SessionStatus(row["status"]),
        wanted=Wanted(row["wanted"]),
        presence=Presence(row["presence"]),
        waiting_for=row["waiting_for"] and WaitingFor(row["waiting_for"]),
        spec=_spec_of(json.loads(row["spec"])),
        metadata=json.loads(row["metadata"]),
        usage=_build(Usage, json.loads(row["usage"])),
        failure=failure,
        pending=tuple(json.loads(row["pending"])),
        resources=_resources_of(json.loads(row["resources"])),
        unanswered=tuple(json.loads(row["unanswered"])),
    )


def _spec_of(stored: dict[str, Any]) -> Spec:
    spec = _build(Spec, stored)
    return replace(
        spec,
        allowed_tools=tuple(spec.allowed_tools),
        limits=_build(Limits, stored.get("limits") or {}),
        timing=_build(Timing, stored.get("timing") or {}),
    )


def _resources_json(resources: Resources) -> str:
    read_at = resources.read_at and resources.read_at.isoformat()
    return to_json({"reading": asdict(resources.reading), "read_at": read_at, "told": dict(resources.told)})


def _resources_of(stored: dict[str, Any]) -> Resources:
    read_at = stored.get("read_at")
    return Resources(
        reading=_build(Measurement, stored.get("reading") or {}),
        read_at=datetime.fromisoformat(read_at) if read_at else None,
        told=stored.get("told") or {},
    )


def _build[T](kind: type[T], stored: dict[str, Any]) -> T:
    known = {field.name for field in fields(kind)}  # type: ignore[arg-type] # every `kind` here is a dataclass
    return kind(**{name: value for name, value in stored.items() if name in known})


def output_of(row: Row) -> Output:
    """Return the output of a row."""
    return Output(row["seq"], row["kind"], row["at"], row["text"])


def event_of(row: Row) -> StoredEvent:
    """Return the event of a row."""
    return StoredEvent(
        session_id=row["session_id"],
        seq=row["seq"],
        type=row["type"],
        at=row["at"],
        payload=json.loads(row["payload"]),
        output_seq=row["output_seq"],
        version=row["version"],
    )


def key_of(row: Row) -> ApiKey:
    """Return the caller of a row."""
    return ApiKey(row["id"], row["name"], Role(row["role"]), row["created_at"])


def probe_of(row: Row) -> Probe:
    """Return the health check of a row."""
    reading = _build(Measurement, json.loads(row["reading"]))
    return Probe(row["at"], row["healthy"], row["latency_ms"], row["message"], reading)
