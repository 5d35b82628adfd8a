"""The types of events that a request asks for: by name, by group, or in the older form in capitals."""

from typing import Annotated

from fastapi import Query

from jelmore.session.errors import InvalidRequestError
from jelmore.session.events import EventType

Types = Annotated[
    list[str] | None,
    Query(
        description="Only these types; may be repeated. `session.failed`, all of a group as `session.*`, or the older "
        "form `SESSION_FAILED`.",
        examples=[["session.failed"]],
    ),
]


def parse_types(given: list[str] | None, field: str = "type") -> frozenset[str]:
    """Return the event types that a filter names. Raises InvalidRequestError, which names the field."""
    found: set[str] = set()
    for text in given or []:
        group = text.removesuffix("*")
        matching = {kind.value for kind in EventType if text in {kind.value, kind.name}}
        if text.endswith(".*"):
            matching = {kind.value for kind in EventType if kind.value.startswith(group)}
        if not matching:
            known = ", ".join(kind.value for kind in EventType)
            raise InvalidRequestError(f"{field}: {text[:64]!r} is not an event type; they are: {known}")
        found |= matching
    return frozenset(found)
