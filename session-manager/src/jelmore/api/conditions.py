"""Conditions and ranges of HTTP requests, parsed into plain values. Pure."""

import re
from email.utils import formatdate
from typing import Final

from jelmore.session.errors import InvalidRequestError

_TAG: Final = re.compile(r'\s*(\*|(?:W/)?"[\x21\x23-\x7e]*")\s*(?:,|$)')
_RANGE: Final = re.compile(r"\s*bytes\s*=\s*(?:(\d{1,18})\s*-\s*(\d{1,18})?|-\s*(\d{1,18}))\s*", re.ASCII)
MAX_TAGS: Final = 50


def entity_tags(name: str, text: str | None) -> list[str]:
    """Return the entity tags of an If-Match or If-None-Match header; empty without one. Raises InvalidRequestError."""
    if text is None:
        return []
    tags: list[str] = []
    at = 0
    while at < len(text):
        found = _TAG.match(text, at)
        if found is None or len(tags) >= MAX_TAGS:
            raise InvalidRequestError(f'{name}: is not a list of at most {MAX_TAGS} entity tags such as "abc", or *')
        tags.append(found.group(1))
        at = found.end()
    return tags


def byte_range(text: str | None) -> tuple[int | None, int | None] | None:
    """Return the first and the last byte of a Range header, or None and a number of last bytes.

    None for no range, and for what HTTP requires servers to ignore: other units, malformed ranges. Of several ranges,
    none is served: the answer is the whole file.
    """
    found = _RANGE.fullmatch(text) if text is not None else None
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return None, int(suffix)
    if last is not None and int(last) < int(first):
        return None
    return int(first), None if last is None else int(last)


def http_date(seconds: float) -> str:
    """Return a moment as a Last-Modified header has it."""
    return formatdate(max(0.0, min(seconds, 253_402_300_799.0)), usegmt=True)
