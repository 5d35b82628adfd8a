"""Checks the content of a form that an MCP server asks for (an elicitation) against its schema. Pure.

MCP restricts these schemas to an object of strings, numbers, booleans and choices, and says that clients should
validate (modelcontextprotocol.io, versions 2025-06-18 to 2026-07-28: client/elicitation, `PrimitiveSchemaDefinition`).
What a server asks beyond that is passed on unchecked: the server looks at it again.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from math import isfinite
from typing import Any, Final

MAX_SHOWN: Final = 200
"""Characters of a name or of choices in a message."""

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s]+")
_DATE: Final = re.compile(r"\d{4}-\d\d-\d\d")
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def problem_of(asked: Mapping[str, Any], content: Mapping[str, Any]) -> str | None:
    """Return what is wrong with the content for an elicitation: `updated_input.size: must be …`; None if it fits."""
    schema = asked.get("requested_schema")
    if asked.get("mode") == "url":
        return "updated_input: the request asks to open its url and has no form" if content else None
    fields = schema.get("properties") if isinstance(schema, dict) else None
    if not isinstance(schema, dict) or not isinstance(fields, dict):
        return None
    required = schema.get("required")
    for name in required if isinstance(required, list) else []:
        if isinstance(name, str) and name not in content:
            return f"{_at(name)}: is required"
    for name, value in content.items():
        if name not in fields:
            return f"{_at(name)}: is not a field of the form, which has {_listed(list(fields))}"
        wrong = _wrong(fields[name], value) if isinstance(fields[name], dict) else None
        if wrong:
            return f"{_at(name)}: {wrong}"
    return None


def _wrong(field: Mapping[str, Any], value: Any) -> str | None:
    """Return what is wrong with the value of one field."""
    check = _CHECKS.get(str(field.get("type")))
    return None if check is None else check(field, value)


def _text(field: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, str):
        return "must be a string"
    if (choices := _choices(field)) is not None:
        return None if value in choices else f"must be one of {_listed(choices)}"
    least, most = _bound(field, "minLength"), _bound(field, "maxLength")
    if least is not None and len(value) < least:
        return f"must have at least {least} characters"
    if most is not None and len(value) > most:
        return f"must have at most {most} characters"
    known = _FORMATS.get(str(field.get("format")))
    return None if known is None or known[0](value) else f"must be {known[1]}"


def _number(field: Mapping[str, Any], value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "must be a number"
    if isinstance(value, float) and not isfinite(value):  # an integer is finite, and may not fit into a float
        return "must be a number"
    if field["type"] == "integer" and value % 1:
        return "must be a whole number"
    least, most = _bound(field, "minimum"), _bound(field, "maximum")
    if least is not None and value < least:
        return f"must be at least {least}"
    return f"must be at most {most}" if most is not None and value > most else None


def _flag(_: Mapping[str, Any], value: Any) -> str | None:
    return None if isinstance(value, bool) else "must be true or false"


def _several(field: Mapping[str, Any], value: Any) -> str | None:
    if not isinstance(value, list):
        return "must be a list"
    items = field.get("items")
    choices = _choices(items) if isinstance(items, dict) else None
    if choices is not None and any(each not in choices for each in value):
        return f"must have only {_listed(choices)}"
    least, most = _bound(field, "minItems"), _bound(field, "maxItems")
    if least is not None and len(value) < least:
        return f"must have at least {least} of {_listed(choices or [])}"
    return f"must have at most {most}" if most is not None and len(value) > most else None


_CHECKS: Final[Mapping[str, Callable[[Mapping[str, Any], Any], str | None]]] = {
    "string": _text,
    "number": _number,
    "integer": _number,
    "boolean": _flag,
    "array": _several,
}


def _choices(field: Mapping[str, Any]) -> list[Any] | None:
    """Return the values to choose from: `enum`, or the constants of `oneOf` or `anyOf`; None where any value may be."""
    if isinstance(field.get("enum"), list):
        return list(field["enum"])
    titled = field.get("oneOf", field.get("anyOf"))
    if not isinstance(titled, list) or not all(isinstance(each, dict) and "const" in each for each in titled):
        return None
    return [each["const"] for each in titled]


def _bound(field: Mapping[str, Any], name: str) -> float | None:
    bound = field.get(name)
    return bound if isinstance(bound, int | float) and not isinstance(bound, bool) else None


def _is_date(value: str) -> bool:
    if not _DATE.fullmatch(value):  # Python also takes days of a week
        return False
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _is_date_time(value: str) -> bool:
    if not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


_FORMATS: Final[Mapping[str, tuple[Callable[[str], object], str]]] = {
    "email": (_EMAIL.fullmatch, "an email address"),
    "uri": (_URI.fullmatch, "a URI, such as https://example.com"),
    "date": (_is_date, "a date, such as 2026-11-28"),
    "date-time": (_is_date_time, "a time with its zone, such as 2026-11-28T12:00:00Z"),
}


def _at(name: Any) -> str:
    return f"updated_input.{str(name)[:MAX_SHOWN]}"


def _listed(values: Sequence[Any]) -> str:
    text = ", ".join(str(each) for each in values[:50]) or "none"
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
