"""Text and JSON that PostgreSQL accepts. It refuses NUL and half a surrogate pair, and agents may print both.

What cannot be stored becomes U+FFFD, so that no output of an agent can stop the relay of its session.
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

REPLACEMENT: Final = "\ufffd"
_UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")
_ESCAPED: Final = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")
_DEEPEST: Final = 100


def storable_text(text: str) -> bool:
    """Return whether the text can be stored unchanged."""
    return _UNSTORABLE.search(text) is None


def clean_text(text: str) -> str:
    """Return the text with U+FFFD in place of what cannot be stored."""
    return _UNSTORABLE.sub(REPLACEMENT, text)


def storable_json(value: Any) -> bool:
    """Return whether the value can be stored as JSON unchanged."""
    try:
        text = json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, RecursionError):
        return False
    return _ESCAPED.search(text) is None or _clean(value, 0) == value


def to_json(value: Any) -> str:
    """Return the value as JSON text that can be stored. Never raises: what JSON does not know becomes text or null."""
    try:
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError):
        return json.dumps(_clean(value, 0), separators=(",", ":"))
    # A match is rare. It may also be a whole surrogate pair, which `_clean` keeps.
    return json.dumps(_clean(value, 0), separators=(",", ":")) if _ESCAPED.search(text) else text


def without_unstorable(fields: Mapping[str, object]) -> dict[str, object]:
    """Return the fields of a gateway's call: text without NUL, with `?` in place of half a surrogate pair."""
    return {
        name: value.replace("\0", "").encode(errors="replace").decode() if isinstance(value, str) else value
        for name, value in fields.items()
    }


def _clean(value: Any, depth: int) -> Any:
    if depth > _DEEPEST:
        return REPLACEMENT
    match value:
        case str():
            return clean_text(value)
        case float():
            return value if math.isfinite(value) else None
        case None | bool() | int():
            return value
        case dict():
            return {clean_text(str(key)): _clean(item, depth + 1) for key, item in value.items()}
        case list() | tuple():
            return [_clean(item, depth + 1) for item in value]
        case _:
            return clean_text(str(value))
