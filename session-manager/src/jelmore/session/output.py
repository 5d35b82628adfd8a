"""Output of a runner: its envelope, its data, and the facts and events that follow from it.

A line is handled as text. Only the envelope (`seq`, `kind`, `at`) is read from every line. `data` is parsed on demand
and within limits, so that a large or hostile line cannot exhaust the memory of this process.
"""

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from jelmore.session.events import EventDraft, EventType
from jelmore.session.prompts import bounded
from jelmore.session.record import Detail, Session, Usage
from jelmore.session.states import Fact, Presence, SessionStatus, WaitingFor

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""A longer line is stored as a truncation mark. Runners cut lines far below this; 1 MiB of input may need 6 MiB."""

_MAX_PARSED_CHARACTERS: Final = 1024 * 1024 + 4096
_MAX_VALUES: Final = 100_000
"""A line is parsed only if it is short or has few values: 60 MiB of empty arrays become 1.5 GiB of objects."""

_MAX_DEPTH: Final = 100
PERMISSION_MODES: Final = frozenset({"default", "acceptEdits", "plan", "bypassPermissions", "dontAsk", "auto"})
_MOST_UNANSWERED: Final = 20
_MOST_PENDING: Final = 100
_MOST_REQUEST_ID: Final = 128

_MEANINGFUL: Final = frozenset(
    {"input", "state", "message", "directory_changed", "file_modified", "git_activity", "permission_requested"}
    | {"question", "permission_resolved", "interrupted", "error", "turn_ended", "permission_mode_changed"}
)
"""The kinds whose data is parsed; the others are stored and published as text."""

_MOST: Final = 2**53
"""Stores and clients do not keep larger numbers exactly; a runner that sends one is faulty."""

_ENVELOPE: Final = re.compile(
    r'\{"type":"event","seq":([1-9][0-9]{0,15}),"kind":"([a-z_]{1,64})","at":"([0-9T:.+Z-]{10,40})","data":\{'
)
_NUMBERED: Final = re.compile(rb'\{"type":"event","seq":([0-9]{1,16}),')
_RESULT_HEAD: Final = re.compile(r'[^{]*\{"message":\{"type":"(\w{1,64})"(?:,"subtype":"(\w{1,64})")?')
_RESULT_TAIL: Final = re.compile(r'(?:"turn_ended":(true),)?"input_id":(?:"([^"\\]{1,128})"|null)\}\}$')
_TURN_HEAD: Final = re.compile(r'[^{]*\{"input_id":(?:"([^"\\]{1,128})"|null),"outcome":"(\w{1,16})"')
_NEUTRAL_TAIL: Final = re.compile(
    r'(?:"turn_ended":true,"input_id":(?:"[^"]{0,1024}"|null)|"input_id":(?:"[^"]{0,1024}"|null),"neutral":true)\}\}$'
)
_CONTROL: Final = re.compile("[\x00-\x1f]")
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Output:
    """One numbered line of output. `text` is its JSON as the runner journaled it, on one line."""

    seq: int
    kind: str
    at: datetime
    text: str

    @property
    def data(self) -> dict[str, Any]:
        """Return the line's data, parsed at each call; `{"truncated": {"bytes": N}}` when it exceeds the limits."""
        return _data(self.text)


def parse(text: str) -> Output | None:
    """Return the output in an event frame or journal line; None when it is incomplete or malformed. Never raises.

    Lines in the format of Jelmore's runners are read by their first characters; others are parsed, within limits.
    """
    envelope = _ENVELOPE.match(text)
    if envelope and text.endswith("}}") and not _CONTROL.search(text):
        seq, kind, at = int(envelope[1]), envelope[2], _moment(envelope[3])
        return Output(seq, kind, at, text) if at is not None else None
    frame = _loads(text) if _is_affordable(text) else None
    if not isinstance(frame, dict) or not isinstance(frame.get("data"), dict):
        return None
    number, kind, at = frame.get("seq"), frame.get("kind"), _moment(frame.get("at"))
    if type(number) is not int or not 1 <= number < _MOST or not isinstance(kind, str) or at is None:
        return None
    return Output(number, kind, at, _CONTROL.sub(" ", text))  # only between tokens: JSON forbids them in strings


def has_neutral_facts(output: Output) -> bool:
    """Return whether neutral facts follow a message of the agent, so that it need not be read. Parses few lines."""
    if _NEUTRAL_TAIL.search(output.text[-1100:]):
        return True
    data = output.data
    return data.get("neutral") is True or data.get("turn_ended") is True


def unreadable(seq: int, at: datetime, size: int, why: str) -> Output:
    """Return the line that replaces one that cannot be stored: an `error` with a truncation mark."""
    data = {"code": "output_unreadable", "message": why, "truncated": {"bytes": size}}
    frame = {"type": "event", "seq": seq, "kind": "error", "at": at.isoformat(), "data": data}
    return Output(seq, "error", at, json.dumps(frame, separators=(",", ":")))


def _moment(value: object) -> datetime | None:
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _is_affordable(text: str) -> bool:
    return len(text) <= _MAX_PARSED_CHARACTERS or sum(map(text.count, "[{,")) <= _MAX_VALUES


def _loads(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None


def _data(text: str) -> dict[str, Any]:
    if not _is_affordable(text):
        return _marked(text)
    frame = _loads(text)
    data = frame.get("data") if isinstance(frame, dict) else None
    nests = text.count("[") + text.count("{") > _MAX_DEPTH
    if nests and (frame is None or _is_deep(data)):
        return _marked(text)
    if not isinstance(data, dict):
        return {}
    if "\\u" in text and _HALF_PAIR.search(whole := json.dumps(data, ensure_ascii=False)):
        data = json.loads(whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    return data


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_MAX_DEPTH + 1):
        level = [
            item
            for parent in level
            for item in (parent.values() if isinstance(parent, dict) else parent if isinstance(parent, list) else ())
            if isinstance(item, dict | list)
        ]
        if not level:
            return False
    return True


def _marked(text: str) -> dict[str, Any]:
    """Return the truncation mark for data that is not parsed. It keeps the fields that show the end of a turn."""
    mark: dict[str, Any] = {"truncated": {"bytes": len(text.encode("utf-8", "replace"))}}
    start = text.find('"data":')
    data = text[start : start + 400] if start >= 0 else ""
    if turn := _TURN_HEAD.match(data):
        return {**mark, "input_id": turn[1], "outcome": turn[2]}
    if head := _RESULT_HEAD.match(data):
        tail = _RESULT_TAIL.search(text[-200:])
        mark["message"] = {"type": head[1], "subtype": head[2]}
        mark["turn_ended"] = bool(tail and tail[1])
        mark["input_id"] = tail[2] if tail else None
    return mark


class JournalReader:
    """Reads a journal in pieces. Holds at most one line and one piece in memory; does not parse data."""

    def __init__(self, after: int) -> None:
        """Skip lines up to seq `after` without parsing them."""
        self.is_over = False  # a line was malformed: what follows it cannot be trusted
        self._after = after
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, piece: bytes) -> list[Output]:
        """Return the output in the lines completed by `piece`, up to the first gap in seqs. Never raises."""
        *ends, rest = piece.split(b"\n")
        outputs = []
        for end in ends:
            self._add(end)
            output = None if self.is_over else self._line()
            outputs += [output] if output else []
            self._parts, self._size = [], 0
        self._add(rest)
        return outputs

    def _add(self, part: bytes) -> None:
        self._size += len(part)
        if self._size <= MAX_LINE_BYTES:
            self._parts.append(part)
        else:  # keep the envelope for the mark that replaces the line
            self._parts = [b"".join(self._parts)[:256], part[:256]]

    def _line(self) -> Output | None:
        line = b"".join(self._parts)
        numbered = _NUMBERED.match(line)
        if numbered and int(numbered[1]) <= self._after:
            return None
        output = parse(line.decode(errors="replace")) if self._size <= MAX_LINE_BYTES else _too_long(line, self._size)
        self.is_over = output is None
        if output is None or output.seq != self._after + 1:
            return None
        self._after = output.seq
        return output


def _too_long(line: bytes, size: int) -> Output | None:
    envelope = _ENVELOPE.match(line[:256].decode(errors="replace"))
    at = _moment(envelope[3]) if envelope else None
    return unreadable(int(envelope[1]), at, size, "the line is too long") if envelope and at else None


def parse_journal(journal: bytes, after: int) -> list[Output]:
    """Return the journaled output after seq `after`, up to the first malformed line or gap in seqs."""
    return JournalReader(after).feed(journal)


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
            payload = {"input_id": data.get("id"), "input": data.get("input"), "by": data.get("by")}
            return replace(session, unanswered=()), [EventDraft(EventType.COMMAND_SENT, payload, seq)]
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
        case "file_modified":
            return session, [EventDraft(EventType.SESSION_FILE_MODIFIED, data, seq)]
        case "git_activity":
            return session, [EventDraft(EventType.SESSION_GIT_ACTIVITY, data, seq)]
        case "permission_requested" | "question":
            if not _askable(data):
                return session, []
            others = _without(session.pending, data["request_id"])
            return replace(session, pending=bounded((*others, data), _MOST_PENDING)), []
        case "permission_resolved":
            return _resolve(session, data), []
        case "interrupted":
            lost = {"kind": "prompt", "seq": seq, **data}
            # Prompts of this turn are lost with it; tag them so that the results of later turns do not remove them.
            asked = tuple({"input_id": data.get("input_id"), **each} for each in session.unanswered)
            drafts = [EventDraft(EventType.COMMAND_FAILED, {"reason": "interrupted", **data}, seq)]
            return replace(session, unanswered=bounded((*asked, lost), _MOST_UNANSWERED)), drafts
        case "error":
            return session, _read_error(data, seq)
        case _:
            return session, []


def _is_meaningful(output: Output) -> bool:
    if output.kind == "message":  # only the result of an older runner, which journals no neutral facts
        return '"result"' in output.text and not has_neutral_facts(output)
    return output.kind in _MEANINGFUL


def _read_error(data: dict[str, Any], seq: int) -> list[EventDraft]:
    drafts = [EventDraft(EventType.ERROR_RECEIVED, data, seq)]
    if data.get("code") != "output_limited":
        return drafts
    used, limit = _count(data.get("used_bytes")), _count(data.get("limit_bytes"))
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
        woke = session.status is SessionStatus.IDLE and session.presence is not Presence.AWAKE
        changed, drafts = session.after(Fact.STARTED_WORKING, output.at, detail)
        if woke:  # the agent began by itself (a background task): nothing else reports it
            drafts.insert(0, EventDraft(EventType.SESSION_RESUMED, {"from": session.presence.value}, output.seq))
        return changed, drafts
    word = data.get("waiting_for")
    waiting_for = WaitingFor(word) if word in list(WaitingFor) else WaitingFor.PROMPT
    return session.after(
        Fact.STARTED_WAITING, output.at, replace(detail, waiting_for=waiting_for, reason=waiting_for.value)
    )


def _read_message(session: Session, output: Output, data: dict[str, Any]) -> tuple[Session, list[EventDraft]]:
    """Read the result of a runner that journals no `turn_ended`. Its cost is the running total of one process."""
    message = data.get("message")
    if not isinstance(message, dict) or message.get("type") != "result":
        return session, []
    failed = bool(message.get("is_error")) or str(message.get("subtype", "")).startswith("error")
    cost = max(session.usage.cost_usd, _amount(message.get("total_cost_usd")))
    turn = {**message, "text": message.get("result"), "input_id": data.get("input_id")}
    return _end_turn(session, output.seq, turn, failed=failed, cost_usd=cost)


def _read_turn_ended(session: Session, output: Output, data: dict[str, Any]) -> tuple[Session, list[EventDraft]]:
    cost = session.usage.cost_usd + _amount(data.get("cost_usd"))
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
    }
    kind = EventType.COMMAND_FAILED if failed else EventType.COMMAND_EXECUTED
    still = tuple(each for each in session.unanswered if each.get("input_id") not in (None, input_id))
    usage = _add(session.usage, turn.get("usage"), cost_usd)
    return replace(session, usage=usage, unanswered=still), [EventDraft(kind, payload, seq)]


def _read_permission_mode(session: Session, data: dict[str, Any]) -> Session:
    """Store the agent's mode for the next start. A mode that cannot be used for a start is ignored."""
    mode = data.get("mode")
    if not isinstance(mode, str) or mode not in PERMISSION_MODES:
        return session
    return replace(session, spec=replace(session.spec, permission_mode=mode))


def _askable(data: dict[str, Any]) -> bool:
    """Return whether a prompt has all fields that are needed to show and answer it."""
    texts = all(isinstance(data.get(name), str) for name in ("request_id", "tool", "title"))
    if not texts or len(data["request_id"]) > _MOST_REQUEST_ID:
        return False
    return data.get("waiting_for") in ("permission", "question") and isinstance(data.get("input"), dict)


def _resolve(session: Session, data: dict[str, Any]) -> Session:
    """Remove a prompt from the pending ones. A cancelled one becomes unanswered: its turn may have been lost."""
    request_id = data.get("request_id")
    left = _without(session.pending, request_id)
    if data.get("decision") != "cancelled":
        return replace(session, pending=left)
    lost = tuple({"kind": prompt.get("waiting_for"), **prompt} for prompt in session.pending if prompt not in left)
    return replace(session, pending=left, unanswered=bounded((*session.unanswered, *lost), _MOST_UNANSWERED))


def _without(pending: tuple[dict[str, Any], ...], request_id: object) -> tuple[dict[str, Any], ...]:
    return tuple(prompt for prompt in pending if prompt.get("request_id") != request_id)


def _add(usage: Usage, tokens: object, cost_usd: float) -> Usage:
    """Return the totals after one more turn. `cost_usd` is already the new total."""
    used = tokens if isinstance(tokens, dict) else {}
    return Usage(
        turns=usage.turns + 1,
        input_tokens=usage.input_tokens + _count(used.get("input_tokens")),
        output_tokens=usage.output_tokens + _count(used.get("output_tokens")),
        cost_usd=cost_usd,
    )


def _amount(value: object) -> float:
    return float(value) if isinstance(value, int | float) and 0 <= value < _MOST else 0.0


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value < _MOST else 0
