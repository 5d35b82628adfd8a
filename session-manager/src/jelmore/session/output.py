"""What the runner's output tells about a session: facts for the record and events for the outbox.

The relay stores output and what it means in one transaction, so each is told exactly once, in order.
"""

import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from jelmore.session.events import EventDraft, EventType
from jelmore.session.record import Detail, Session, Usage
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor

_MOST_UNANSWERED: Final = 20
_MOST: Final = 2**53
"""Beyond this no store and no client keeps a number exactly; a runner that says so talks garbage."""


@dataclass(frozen=True, slots=True)
class Output:
    """One numbered line of output. `text` is its JSON exactly as the runner journaled it."""

    seq: int
    kind: str
    at: datetime
    data: dict[str, Any]
    text: str


def parse(text: str) -> Output | None:
    """Return the output in an event frame or journal line; None when it is not a whole one."""
    try:
        frame = json.loads(text)
        seq, kind, at, data = frame["seq"], frame["kind"], datetime.fromisoformat(frame["at"]), frame["data"]
    except (ValueError, KeyError, TypeError):
        return None
    if type(seq) is not int or seq < 1 or not isinstance(kind, str) or not isinstance(data, dict) or at.tzinfo is None:
        return None
    return Output(seq=seq, kind=kind, at=at, data=data, text=text)


def parse_journal(journal: bytes, after: int) -> list[Output]:
    """Return the journaled output after `after`, as far as its lines are whole and its numbers continue."""
    outputs: list[Output] = []
    for line in journal.splitlines():
        output = parse(line.decode(errors="replace"))
        if output is None:
            break
        if output.seq > after and output.seq == (outputs[-1].seq if outputs else after) + 1:
            outputs.append(output)
    return outputs


def read(session: Session, outputs: list[Output]) -> tuple[Session, list[EventDraft]]:
    """Return the session as `outputs` leave it and the events that tell of them. `outputs` continue its output."""
    drafts: list[EventDraft] = []
    for output in outputs:
        session, told = _read_one(session, output)
        drafts += told
    if outputs:
        first, last = outputs[0].seq, outputs[-1].seq
        session = replace(session, output_seq=last)
        drafts.append(EventDraft(EventType.OUTPUT_RECEIVED, {"from_seq": first, "to_seq": last}, last))
    return session, drafts


def _read_one(session: Session, output: Output) -> tuple[Session, list[EventDraft]]:
    data, seq = output.data, output.seq
    match output.kind:
        case "input":
            payload = {"input_id": data.get("id"), "input": data.get("input"), "by": data.get("by")}
            return replace(session, unanswered=()), [EventDraft(EventType.COMMAND_SENT, payload, seq)]
        case "state":
            return _read_state(session, output)
        case "message":
            return _read_message(session, output)
        case "directory_changed":
            directory = data.get("to")
            changed = replace(session, current_directory=directory) if isinstance(directory, str) else session
            return changed, [EventDraft(EventType.SESSION_DIRECTORY_CHANGED, data, seq)]
        case "file_modified":
            return session, [EventDraft(EventType.SESSION_FILE_MODIFIED, data, seq)]
        case "git_activity":
            return session, [EventDraft(EventType.SESSION_GIT_ACTIVITY, data, seq)]
        case "permission_requested" | "question":
            if not _askable(data):
                return session, []
            others = _without(session.pending, data["request_id"])
            return replace(session, pending=(*others, data)), []
        case "permission_resolved":
            return _resolve(session, data), []
        case "interrupted":
            lost = {"kind": "prompt", "seq": seq, **data}
            # What this turn had asked went with it: the results of later turns must not take it off the list.
            asked = tuple({"input_id": data.get("input_id"), **each} for each in session.unanswered)
            drafts = [EventDraft(EventType.COMMAND_FAILED, {"reason": "interrupted", **data}, seq)]
            return replace(session, unanswered=(*asked, lost)[-_MOST_UNANSWERED:]), drafts
        case "error":
            return session, [EventDraft(EventType.ERROR_RECEIVED, data, seq)]
        case _:
            return session, []


def _read_state(session: Session, output: Output) -> tuple[Session, list[EventDraft]]:
    """Follow the agent. Before the first readiness and after the end the reconciler alone moves the session."""
    if session.ended or session.status is SessionStatus.INITIALIZING:
        return session, []
    detail = Detail(output_seq=output.seq)
    if output.data.get("state") == "active":
        woke = session.status is SessionStatus.IDLE and session.presence is not Presence.AWAKE
        changed, drafts = session.after(Fact.STARTED_WORKING, output.at, detail)
        if woke:  # the agent began by itself (a background task), so nobody else told of it
            drafts.insert(0, EventDraft(EventType.SESSION_RESUMED, {"from": session.presence.value}, output.seq))
        return changed, drafts
    word = output.data.get("waiting_for")
    waiting_for = WaitingFor(word) if word in list(WaitingFor) else WaitingFor.PROMPT
    return session.after(
        Fact.STARTED_WAITING, output.at, replace(detail, waiting_for=waiting_for, reason=waiting_for.value)
    )


def _read_message(session: Session, output: Output) -> tuple[Session, list[EventDraft]]:
    message = output.data.get("message")
    if not isinstance(message, dict) or message.get("type") != "result":
        return session, []
    usage = _add(session.usage, message)
    failed = bool(message.get("is_error")) or str(message.get("subtype", "")).startswith("error")
    payload = {
        "input_id": output.data.get("input_id"),
        "subtype": message.get("subtype"),
        "result": message.get("result"),
        "duration_ms": message.get("duration_ms"),
        "num_turns": message.get("num_turns"),
        "usage": message.get("usage"),
        "total_cost_usd": message.get("total_cost_usd"),
    }
    kind = EventType.COMMAND_FAILED if failed else EventType.COMMAND_EXECUTED
    still = tuple(
        each for each in session.unanswered if each.get("input_id") not in (None, output.data.get("input_id"))
    )
    return replace(session, usage=usage, unanswered=still), [EventDraft(kind, payload, output.seq)]


def _askable(data: dict[str, Any]) -> bool:
    """Return whether a prompt has all that is needed to show it and to answer it."""
    texts = all(isinstance(data.get(name), str) for name in ("request_id", "tool", "title"))
    return texts and data.get("waiting_for") in ("permission", "question") and isinstance(data.get("input"), dict)


def _resolve(session: Session, data: dict[str, Any]) -> Session:
    """Take a prompt off the pending ones. One that was cancelled, not answered, may have been lost with its turn."""
    request_id = data.get("request_id")
    left = _without(session.pending, request_id)
    if data.get("decision") != "cancelled":
        return replace(session, pending=left)
    lost = tuple({"kind": prompt.get("waiting_for"), **prompt} for prompt in session.pending if prompt not in left)
    return replace(session, pending=left, unanswered=(*session.unanswered, *lost)[-_MOST_UNANSWERED:])


def _without(pending: tuple[dict[str, Any], ...], request_id: object) -> tuple[dict[str, Any], ...]:
    return tuple(prompt for prompt in pending if prompt.get("request_id") != request_id)


def _add(usage: Usage, message: dict[str, Any]) -> Usage:
    """Return the totals after one more turn. Claude Code's cost is a running total already; its tokens are not."""
    tokens = message.get("usage") if isinstance(message.get("usage"), dict) else {}
    tokens = tokens or {}
    cost = message.get("total_cost_usd")
    return Usage(
        turns=usage.turns + 1,
        input_tokens=usage.input_tokens + _count(tokens.get("input_tokens")),
        output_tokens=usage.output_tokens + _count(tokens.get("output_tokens")),
        cost_usd=float(cost) if isinstance(cost, int | float) and 0 <= cost < _MOST else usage.cost_usd,
    )


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST else 0
