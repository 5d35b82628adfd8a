"""Output of a runner: its envelope and its data. `output_effects` says what it means for the record.

A line is handled as text. Only the envelope (`seq`, `kind`, `at`) is read from every line. `data` is parsed on demand
and within limits, so that a large or hostile line cannot exhaust the memory of this process.
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

MAX_STORED_LINE_BYTES: Final = 8 * 1024 * 1024
"""A longer line is stored as a truncation mark. Runners cut lines far below this; 1 MiB of input may need 6 MiB."""

_MAX_PARSED_CHARACTERS: Final = 1024 * 1024 + 4096
_MAX_VALUES: Final = 100_000
"""A line is parsed only if it is short or has few values: 60 MiB of empty arrays become 1.5 GiB of objects."""

_MAX_DEPTH: Final = 100
MOST: Final = 2**53
"""Stores and clients do not keep larger numbers exactly; a runner that sends one is faulty."""

_ENVELOPE: Final = re.compile(
    r'\{"type":"event","seq":([1-9][0-9]{0,15}),"kind":"([a-z_]{1,64})","at":"([0-9T:.+Z-]{10,40})","data":\{'
)
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
    envelope = parse_envelope(text)
    if envelope is not None and text.endswith("}}") and not _CONTROL.search(text):
        return Output(*envelope, text)
    frame = _loads(text) if _is_affordable(text) else None
    if not isinstance(frame, dict) or not isinstance(frame.get("data"), dict):
        return None
    number, kind, at = frame.get("seq"), frame.get("kind"), _moment(frame.get("at"))
    if type(number) is not int or not 1 <= number < MOST or not isinstance(kind, str) or at is None:
        return None
    return Output(number, kind, at, _CONTROL.sub(" ", text))  # only between tokens: JSON forbids them in strings


def whole_output(seq: int, text: str) -> Output | None:
    """Parse a line of output. Return None when it is incomplete or has another seq."""
    output = parse(text)
    return output if output is not None and output.seq == seq else None


def parse_envelope(text: str) -> tuple[int, str, datetime] | None:
    """Return seq, kind and time of a line in the format of Jelmore's runners. Its first 256 characters are enough."""
    envelope = _ENVELOPE.match(text)
    at = _moment(envelope[3]) if envelope else None
    return (int(envelope[1]), envelope[2], at) if envelope and at is not None else None


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
