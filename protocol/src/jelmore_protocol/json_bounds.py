"""Refuses JSON with very many values before it is parsed: small values need 30 times the memory of their text."""

import re
from typing import Final

from jelmore_protocol.bounds import MAX_JSON_VALUES

LARGE_CHARACTERS: Final = 64 * 1024
"""Longer JSON is checked, and parsed outside the event loop."""

_STRINGS: Final = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def has_too_many_values(text: str) -> bool:
    """Return whether JSON text has more than `MAX_JSON_VALUES` objects, lists and commas outside of its strings."""
    return _values(text) > MAX_JSON_VALUES and _values(_STRINGS.sub("", text)) > MAX_JSON_VALUES


def _values(text: str) -> int:
    return sum(map(text.count, "[{,"))
