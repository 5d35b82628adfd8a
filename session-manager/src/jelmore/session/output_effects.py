"""What the output of a runner means: the record after it, and the events that report it. Pure."""

from dataclasses import replace
from typing import Any, Final, get_args

from jelmore.session.events import EventDraft, EventType
from jelmore.session.output import Output, has_neutral_facts
from jelmore.session.pending_inputs import without
from jelmore.session.prompts import bounded
from jelmore.session.record import Detail, Session, Usage
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor
from jelmore.session.usage import amount, count, usage_of
from jelmore_protocol.vocabulary import PermissionMode

_PERMISSION_MODES: Final = frozenset(get_args(PermissionMode))
_MAX_UNANSWERED: Final = 20
_MAX_PENDING: Final = 100
_MAX_REQUEST_ID: Final = 128

_MEANINGFUL: Final = frozenset(
    {"input", "state", "message", "directory_changed", "file_modified", "git_activity", "permission_requested"}
    | {"question", "permission_resolved", "interrupted", "error", "turn_ended", "permission_mode_changed", "rewound"}
)
"""The kinds whose data is parsed; the others are stored and published as text."""


_PASSED_ON: Final = {
    "file_modified": EventType.SESSION_FILE_MODIFIED,
    "git_activity": EventType.SESSION_GIT_ACTIVITY,
}
"""The kinds whose data is the payload of an event, and that change nothing."""


def read(session: Session, outputs: list[Output]) -> tuple[Session, list[EventDraft]]:
    """Return the session after `outputs`, and the events that report them. `outputs` must continue its output."""
    drafts: list[EventDraft] = []
    for output in outputs:
        session, events = _read_one(session, output)
        drafts += events
    if outputs:
        first, last = outputs[0].seq, outputs[-1].seq
        session = replace(session, output_seq=last)
        drafts.append(EventDraft(EventType.OUTPUT_RECEIVED, {"from_seq": first, "to_seq": last}, last))
    return session, drafts


def _read_one(session: Session, output: Output) -> tuple[Session, list[EventDraft]]:
    if not _is_meaningful(output):
        return session, []
    data, seq = output.data, output.seq
    match output.kind:
        case "input":
            return _read_input(session, data, seq)
        case "state":
            return _read_state(session, output, data)
        case "message":
            return _read_message(session, output, data)
        case "turn_ended":
            return _read_turn_ended(session, output, data)
        case "permission_mode_changed":
            return _read_permission_mode(session, data), []
        case "directory_changed":
            directory = data.get("to")
            changed = replace(session, current_directory=directory[:4096]) if isinstance(directory, str) else session
            return changed, [EventDraft(EventType.SESSION_DIRECTORY_CHANGED, data, seq)]
        case "file_modified" | "git_activity":
            return session, [EventDraft(_PASSED_ON[output.kind], data, seq)]
        case "permission_requested" | "question":
            if not _askable(data):
                return session, []
            others = _without(session.pending, data["request_id"])
            return replace(session, pending=bounded((*others, data), _MAX_PENDING)), []
        case "permission_resolved":
            return _resolve(session, data), []
        case "interrupted":
            return _read_interrupted(session, data, seq)
        case "rewound":
            names = ("to_seq", "input_id", "files", "conversation", "by")
            payload = {name: data.get(name) for name in names}
            return replace(session, unanswered=()), [EventDraft(EventType.SESSION_REWOUND, payload, seq)]
        case "error":
            return session, _read_error(data, seq)
        case _:
            return session, []


def _is_meaningful(output: Output) -> bool:
    if output.kind == "message":  # only the result of an older runner, which journals no neutral facts
        return '"result"' in output.text and not has_neutral_facts(output)
    return output.kind in _MEANINGFUL


def _read_input(session: Session, data: dict[str, Any], seq: int) -> tuple[Session, list[EventDraft]]:
    payload = {"input_id": data.get("id"), "input": data.get("input"), "by": data.get("by")}
    left = without(session.pending_inputs, data.get("id"))
    taken = replace(session, unanswered=(), pending_inputs=left)
    return taken, [EventDraft(EventType.COMMAND_SENT, payload, seq)]


def _read_interrupted(session: Session, data: dict[str, Any], seq: int) -> tuple[Session, list[EventDraft]]:
    """Keep the prompt of a turn that will not finish, and the requests that were lost with it.

    They are tagged with the input, so that the results of later turns do not remove them.
    """
    lost = {"kind": "prompt", "seq": seq, **data}
    asked = tuple({"input_id": data.get("input_id"), **each} for each in session.unanswered)
    drafts = [EventDraft(EventType.COMMAND_FAILED, {"reason": "interrupted", **data}, seq)]
    return replace(session, unanswered=bounded((*asked, lost), _MAX_UNANSWERED)), drafts


def _read_error(data: dict[str, Any], seq: int) -> list[EventDraft]:
    drafts = [EventDraft(EventType.ERROR_RECEIVED, data, seq)]
    if data.get("code") != "output_limited":
        return drafts
    used, limit = count(data.get("used_bytes")), count(data.get("limit_bytes"))
    percent = round(used * 100 / limit, 1) if limit else 100.0
    numbers = {"level_percent": 100, "percent": percent, "used": used, "limit": limit}
    warning = {"resource": "output", **numbers, "unit": "bytes"}
    return [*drafts, EventDraft(EventType.SYSTEM_RESOURCE_WARNING, warning, seq)]


def _read_state(session: Session, output: Output, data: dict[str, Any]) -> tuple[Session, list[EventDraft]]:
    """Follow the agent's state. Before the session is first ready and after its end, only the reconciler changes it."""
    if session.ended or session.status is SessionStatus.INITIALIZING:
        return session, []
    detail = Detail(output_seq=output.seq)
    if data.get("state") == "active":
        resumed = session.status is SessionStatus.IDLE and session.presence is not Presence.AWAKE
        changed, drafts = session.after(Fact.STARTED_WORKING, output.at, detail)
        if resumed:  # the agent began by itself (a background task): nothing else reports it
            drafts.insert(0, EventDraft(EventType.SESSION_RESUMED, {"from": session.presence.value}, output.seq))
        return changed, drafts
    word = data.get("waiting_for")
    waiting_for = WaitingFor(word) if word in list(WaitingFor) else WaitingFor.PROMPT
    detail = replace(detail, waiting_for=waiting_for, reason=waiting_for.value)
    changed, drafts = session.after(Fact.STARTED_WAITING, output.at, detail)
    if waiting_for is WaitingFor.BUDGET and session.waiting_for is not WaitingFor.BUDGET:
        spent = {"spent_usd": session.usage.cost_usd}
        drafts = [*drafts, EventDraft(EventType.SESSION_BUDGET_REACHED, spent, output.seq)]
    return changed, drafts


def _read_message(session: Session, output: Output, data: dict[str, Any]) -> tuple[Session, list[EventDraft]]:
    """Read the result of a runner that journals no `turn_ended`. Its cost is the running total of one process."""
    message = data.get("message")
    if not isinstance(message, dict) or message.get("type") != "result":
        return session, []
    failed = bool(message.get("is_error")) or str(message.get("subtype", "")).startswith("error")
    cost = max(session.usage.cost_usd, amount(message.get("total_cost_usd")))
    turn = {**message, "text": message.get("result"), "input_id": data.get("input_id")}
    return _end_turn(session, output.seq, turn, failed=failed, cost_usd=cost)


def _read_turn_ended(session: Session, output: Output, data: dict[str, Any]) -> tuple[Session, list[EventDraft]]:
    cost = session.usage.cost_usd + amount(data.get("cost_usd"))
    return _end_turn(session, output.seq, data, failed=data.get("outcome") == "failed", cost_usd=cost)


def _end_turn(
    session: Session, seq: int, turn: dict[str, Any], *, failed: bool, cost_usd: float
) -> tuple[Session, list[EventDraft]]:
    input_id = turn.get("input_id")
    payload = {
        "input_id": input_id,
        "subtype": turn.get("subtype"),
        "result": turn.get("text"),
        "duration_ms": turn.get("duration_ms"),
        "num_turns": turn.get("num_turns"),
        "usage": turn.get("usage"),
        "total_cost_usd": turn.get("total_cost_usd"),
        **({"structured_output": turn["structured_output"]} if "structured_output" in turn else {}),
    }
    kind = EventType.COMMAND_FAILED if failed else EventType.COMMAND_EXECUTED
    still = tuple(each for each in session.unanswered if each.get("input_id") not in (None, input_id))
    usage = _add(session.usage, turn, cost_usd)
    return replace(session, usage=usage, unanswered=still), [EventDraft(kind, payload, seq)]


def _read_permission_mode(session: Session, data: dict[str, Any]) -> Session:
    """Store the agent's mode for the next start. A mode that cannot be used for a start is ignored."""
    mode = data.get("mode")
    if not isinstance(mode, str) or mode not in _PERMISSION_MODES:
        return session
    return replace(session, spec=replace(session.spec, permission_mode=mode))


def _askable(data: dict[str, Any]) -> bool:
    """Return whether a prompt has all fields that are needed to show and answer it."""
    texts = all(isinstance(data.get(name), str) for name in ("request_id", "tool", "title"))
    if not texts or len(data["request_id"]) > _MAX_REQUEST_ID:
        return False
    return data.get("waiting_for") in ("permission", "question", "egress") and isinstance(data.get("input"), dict)


def _resolve(session: Session, data: dict[str, Any]) -> Session:
    """Remove a prompt from the pending ones. A cancelled one becomes unanswered: its turn may have been lost.

    A connection that waits no longer is no loss: the tool that opened it got a refusal.
    """
    request_id = data.get("request_id")
    left = _without(session.pending, request_id)
    if data.get("decision") != "cancelled":
        return replace(session, pending=left)
    lost = tuple({"kind": prompt.get("waiting_for"), **prompt} for prompt in session.pending if prompt not in left)
    lost = tuple(each for each in lost if each["kind"] != WaitingFor.EGRESS)
    return replace(session, pending=left, unanswered=bounded((*session.unanswered, *lost), _MAX_UNANSWERED))


def _without(pending: tuple[dict[str, Any], ...], request_id: object) -> tuple[dict[str, Any], ...]:
    return tuple(prompt for prompt in pending if prompt.get("request_id") != request_id)


def _add(usage: Usage, turn: dict[str, Any], cost_usd: float) -> Usage:
    """Return the totals after one more turn. `cost_usd` is already the new total."""
    used = usage_of(turn)
    return Usage(
        turns=usage.turns + 1,
        input_tokens=usage.input_tokens + sum(each.input_tokens for each in used),
        output_tokens=usage.output_tokens + sum(each.output_tokens for each in used),
        cost_usd=cost_usd,
        cache_read_tokens=usage.cache_read_tokens + sum(each.cache_read_tokens for each in used),
        cache_write_tokens=usage.cache_write_tokens + sum(each.cache_write_tokens for each in used),
    )
