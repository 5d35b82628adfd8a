"""Converts records to rows and rows to records. Pure.

Older or newer code may have written a row: unknown fields are ignored, missing ones get their default.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import datetime
from functools import cache
from typing import Any, Final, Protocol

from jelmore.ports import ApiKey, Probe, Role, StoredEvent
from jelmore.ports.store import short_query
from jelmore.session.events import EventDraft
from jelmore.session.limits import Limits
from jelmore.session.output import Output
from jelmore.session.pending_inputs import PendingInput, as_json
from jelmore.session.plain_text import clean_text, storable_text, to_json
from jelmore.session.record import Failure, Session, Spec, Timing, Usage
from jelmore.session.resources import Measurement, Resources
from jelmore.session.search import searchable
from jelmore.session.states import Presence, SessionStatus, WaitingFor, Wanted
from jelmore.session.usage import turn_usages
from jelmore.session.warm_start import WarmStart

_CONVERTED: Final = frozenset(
    {"spec", "metadata", "usage", "failure", "status", "wanted", "presence", "warm_start", "waiting_for", "pending"}
    | {"resources", "unanswered", "pending_inputs", "tags", "stored"}
)
_AS_IN_THE_ROW: Final = tuple(field.name for field in fields(Session) if field.name not in _CONVERTED)
"""The fields of a session that a row has as they are."""


class Row(Protocol):
    """A row as the library returns it."""

    def __getitem__(self, column: str, /) -> Any:
        """Return a column's value."""


def as_stored(session: Session, version: int, event_seq: int) -> Session:
    """Return the session as stored, with its new version and event number."""
    return replace(session, version=version, event_seq=event_seq, stored=(session.spec, session.metadata))


def session_values(session: Session, drafts: Sequence[EventDraft]) -> dict[str, object]:
    """Return the parameters of `save`, without those of the output."""
    same = ("id", "version", "generation", "output_seq", "restarts", "last_activity_at", "since", "restarted_at")
    also = (
        "warned_at",
        "ended_at",
        "end_reason",
        "container_id",
        "agent_pid",
        "current_directory",
        "title",
        "archived",
        "pinned",
        "token_epoch",
        "tokens_rotated_at",
    )
    return {
        **{name: getattr(session, name) for name in (*same, *also)},
        "tags": list(session.tags),
        "status": session.status.value,
        "wanted": session.wanted.value,
        "presence": session.presence.value,
        **_warm_values(session.warm_start),
        "waiting_for": session.waiting_for and session.waiting_for.value,
        "usage": to_json(asdict(session.usage)),
        "failure": to_json(asdict(session.failure)) if session.failure else None,
        "pending": to_json(list(session.pending)),
        "resources": _resources_json(session.resources),
        "unanswered": to_json(list(session.unanswered)),
        "pending_inputs": to_json(as_json(session.pending_inputs)),
        "event_types": [draft.type.value for draft in drafts],
        "event_payloads": [to_json(draft.payload) for draft in drafts],
        "event_output_seqs": [draft.output_seq for draft in drafts],
    }


def _warm_values(warm: WarmStart) -> dict[str, object]:
    connected = warm is WarmStart.CONNECTED  # two columns: see the migration that added the second
    return {"warm_start": (WarmStart.RUNNER if connected else warm).value, "agent_connected": connected}


def spec_values(session: Session) -> dict[str, object]:
    """Return the parameters of `save_spec`. `create` takes them in addition to those of `save`."""
    return {
        "id": session.id,
        "owner": session.owner,
        "created_at": session.created_at,
        "user_id": session.spec.user_id,
        "metadata": to_json(session.metadata),
        "spec": to_json(asdict(session.spec)),
    }


def output_values(outputs: Sequence[Output]) -> dict[str, object]:
    """Return the parameters of `save` that hold the output, the words to find it by, and what its turns used."""
    turns = turn_usages(outputs)
    used = [turn.usage for turn in turns]
    texts = [(output.seq, clean_text(text)) for output in outputs if (text := searchable(output))]
    return {
        "search_seqs": [seq for seq, _ in texts],
        "search_texts": [text for _, text in texts],
        "usage_seqs": [turn.seq for turn in turns],
        "usage_ats": [turn.at for turn in turns],
        "usage_models": [clean_text(each.name) for each in used],
        "usage_turns": [each.turns for each in used],
        "usage_inputs": [each.input_tokens for each in used],
        "usage_outputs": [each.output_tokens for each in used],
        "usage_cache_reads": [each.cache_read_tokens for each in used],
        "usage_cache_writes": [each.cache_write_tokens for each in used],
        "usage_costs": [each.cost_usd for each in used],
        "output_seqs": [output.seq for output in outputs],
        "output_kinds": [clean_text(output.kind) for output in outputs],
        "output_ats": [output.at for output in outputs],
        "output_texts": [output.text if storable_text(output.text) else clean_text(output.text) for output in outputs],
    }


def summary_of(row: Row) -> Session:
    """Return the session of a row of `list`, with a shortened prompt and without the large fields of its spec.

    Do not save it.
    """
    return _session(row, {**json.loads(row["brief"]), "query": short_query(row["query_start"])})


def session_of(row: Row) -> Session:
    """Return the session of a row of `sessions`."""
    session = _session(row, json.loads(row["spec"]))
    return as_stored(session, session.version, session.event_seq)


def _session(row: Row, spec: dict[str, Any]) -> Session:
    failure = row["failure"] and _build(Failure, json.loads(row["failure"]))
    if failure:
        failure = replace(failure, log_tail=tuple(failure.log_tail))
    return Session(
        **{name: row[name] for name in _AS_IN_THE_ROW},
        status=SessionStatus(row["status"]),
        wanted=Wanted(row["wanted"]),
        presence=Presence(row["presence"]),
        warm_start=WarmStart.CONNECTED if row["agent_connected"] else WarmStart(row["warm_start"]),
        waiting_for=row["waiting_for"] and WaitingFor(row["waiting_for"]),
        spec=_spec_of(spec),
        metadata=json.loads(row["metadata"]),
        tags=tuple(row["tags"]),
        usage=_build(Usage, json.loads(row["usage"])),
        failure=failure,
        pending=tuple(json.loads(row["pending"])),
        resources=_resources_of(json.loads(row["resources"])),
        unanswered=tuple(json.loads(row["unanswered"])),
        pending_inputs=tuple(_build(PendingInput, each) for each in json.loads(row["pending_inputs"])),
    )


def _spec_of(stored: dict[str, Any]) -> Spec:
    converted = {
        "allowed_tools": tuple(stored.get("allowed_tools", ())),
        "limits": _build(Limits, stored.get("limits") or {}),
        "timing": _build(Timing, stored.get("timing") or {}),
    }
    return _build(Spec, {**stored, **converted})


def _resources_json(resources: Resources) -> str:
    read_at = resources.read_at and resources.read_at.isoformat()
    oom_at = resources.oom_at and resources.oom_at.isoformat()
    killed = {"oom_kills": resources.oom_kills, "oom_at": oom_at} if resources.oom_at else {}
    told = dict(resources.warned)
    return to_json({"reading": asdict(resources.reading), "read_at": read_at, "told": told, **killed})


def _resources_of(stored: dict[str, Any]) -> Resources:
    read_at, oom_at = stored.get("read_at"), stored.get("oom_at")
    return Resources(
        reading=_build(Measurement, stored.get("reading") or {}),
        read_at=datetime.fromisoformat(read_at) if read_at else None,
        warned=stored.get("told") or {},
        oom_kills=stored.get("oom_kills") or 0,
        oom_at=datetime.fromisoformat(oom_at) if oom_at else None,
    )


def _build[T](kind: type[T], stored: dict[str, Any]) -> T:
    known = _names(kind)  # type: ignore[arg-type] # a class is hashable
    return kind(**{name: value for name, value in stored.items() if name in known})


@cache
def _names(kind: type) -> frozenset[str]:
    """Return the names of a dataclass's fields. Each row needs those of several classes."""
    return frozenset(field.name for field in fields(kind))


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
    more = {name: row[name] for name in ("expires_at", "last_used_at", "created_by", "user_id", "signed_in_until")}
    more |= {name: row[name] for name in ("act_as", "sign_in_epoch")}
    return ApiKey(row["id"], row["name"], Role(row["role"]), row["created_at"], **more)


def probe_of(row: Row) -> Probe:
    """Return the health check of a row."""
    reading = _build(Measurement, json.loads(row["reading"]))
    return Probe(row["at"], row["healthy"], row["latency_ms"], row["message"], reading)
