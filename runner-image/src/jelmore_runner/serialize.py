"""Encodes any value as JSON.

Any output of a tool or of a new agent version becomes JSON that every parser accepts. An exception here would stop the
reader, and with it the session.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Final

MAX_DEPTH: Final = 100
"""Maximum nesting of an event's data. Parsers have limits too (the fast one stops at 200), and a reader that cannot
parse a line of the journal would retry it forever."""

MAX_VALUES: Final = 20_000
"""Maximum number of values for which `cut` shortens single strings. With more, only an outline stays."""

MAX_SHORT: Final = 1024
"""Maximum length, in characters, of a string that stays when an event is cut to its outline."""


def encode(value: object) -> str:
    """Return compact JSON on one line, valid in UTF-8. Never raises: `plain` converts values without a JSON form.

    Values below `MAX_DEPTH` levels become "…".
    """
    try:
        text = _dumps(value)
        if not text.isascii():
            text.encode()
        odd = _is_deep(text, value)
    except (TypeError, ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        odd = True
    return _dumps(plain(value)) if odd else text


def cut(data: Mapping[str, Any], most_bytes: int) -> dict[str, Any]:
    """Return `data` with long strings cut so that its JSON has at most about `most_bytes`, and a mark.

    The mark is `truncated: {bytes}` with the size of the complete JSON. If cutting strings is not enough, only the
    short fields of the top level and of the message remain.
    """
    size = len(encode(data).encode())
    mark = {"truncated": {"bytes": size}}
    for most in (most_bytes // 4, most_bytes // 32, 1024) if _has_few_values(data) else ():
        shorter = {**_shortened(data, most), **mark}
        if len(encode(shorter).encode()) <= most_bytes:
            return shorter
    message = data.get("message")
    head = {"message": {**_short_fields(message), **mark}} if isinstance(message, Mapping) else {}
    return {**_short_fields(data), **head, **mark}


def _has_few_values(data: Mapping[str, Any]) -> bool:
    """Return whether cutting strings can help. With very many values it cannot, and each pass would block the loop."""
    waiting: list[object] = [data]
    count = 0
    while waiting and count <= MAX_VALUES:
        items = list(islice(_items(waiting.pop()), MAX_VALUES))
        count += len(items)
        waiting += [item for item in items if isinstance(item, dict | list | tuple)]
    return count <= MAX_VALUES


def _shortened(value: Any, most: int, depth: int = 0) -> Any:
    if depth > MAX_DEPTH:
        return "…"
    match value:
        case str() if len(value) > most:
            return f"{value[:most]}… [cut: {len(value)} characters]"
        case Mapping():
            return {str(key): _shortened(item, most, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [_shortened(item, most, depth + 1) for item in value]
        case _:
            return value


def _short_fields(value: Mapping[str, Any]) -> dict[str, Any]:
    fields = list(value.items())[:100]
    return {
        key: item
        for key, item in fields
        if len(key) <= MAX_SHORT and (item is None or isinstance(item, int | float) or _is_short(item))
    }


def _is_short(item: object) -> bool:
    return isinstance(item, str) and len(item) <= MAX_SHORT


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _is_deep(text: str, value: object) -> bool:
    """Return whether `value`, with the JSON `text`, is deeper than `MAX_DEPTH`. Counting brackets is mostly enough."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for parent in level for item in _items(parent) if isinstance(item, dict | list | tuple)]
        if not level:
            return False
    return True


def _items(container: object) -> Iterable[object]:
    match container:
        case dict():
            return container.values()
        case list() | tuple():
            return container
        case _:
            return ()


def plain(value: object, depth: int = 0) -> Any:
    """Return `value` as JSON types only. A value without a JSON form becomes its text."""
    if depth > MAX_DEPTH:
        return "…"
    match value:
        case None | bool():
            return value
        case int():
            return int(value)
        case str():
            return value.encode("utf-8", "replace").decode("utf-8") if not value.isascii() else str(value)
        case float():
            return value if value - value == 0 else None  # NaN and the infinities have no JSON form
        case Mapping():
            return {str(plain(str(key))): plain(item, depth + 1) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [plain(item, depth + 1) for item in value]
        case bytes():
            return value.decode("utf-8", "replace")
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {name: plain(item, depth + 1) for name, item in fields_of(value).items()}
        case _:
            return _text(value)


def fields_of(value: object) -> dict[str, Any]:
    """Return the fields of a dataclass, or the text of any other value."""
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    return {"text": _text(value)}


def _text(value: object) -> str:
    try:
        return str(plain(str(value)))
    except Exception:  # noqa: BLE001 - a hostile __str__ must not stop the reader
        return f"<{type(value).__name__}>"
