"""Bounds what validating a message of a stranger costs: pydantic collects an error for every bad member.

A body of 1.5 MB with 99,000 bad members stopped the event loop for four seconds, and a thread does not help: pydantic
holds the interpreter's lock.
"""

from typing import Any, Final, Self

from pydantic import BaseModel, ModelWrapValidatorHandler, model_validator

MAX_MEMBERS: Final = 5_000
"""The bound of the fields, items and keys of a message, at all levels. Free JSON, such as metadata, does not count."""

_FREE: Final = "dict[str, typing.Any]"


class BoundedShape(BaseModel):
    """Base class of messages that strangers send. One with too many members is refused before they are validated."""

    @model_validator(mode="wrap")
    @classmethod
    def _few_members(cls, data: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(data, dict):
            left = MAX_MEMBERS - len(data)
            for name in data if left >= 0 else ():
                field = cls.model_fields.get(name)
                left -= _members(data[name], left, "" if field is None else str(field.annotation))
            if left < 0:
                raise ValueError(f"must not have more than {MAX_MEMBERS} members")
        return validate(data)


def _members(value: Any, most: int, annotation: str) -> int:
    """Return how many members `value` has at all levels, at most a few more than `most`. Free JSON has none."""
    if _FREE in annotation and "dict[str, dict" not in annotation:
        return 0
    count, waiting = 0, [value]
    while waiting and count <= most:
        each = waiting.pop()
        if isinstance(each, dict | list):
            count += len(each)
            if count <= most and "typing.Any" not in annotation:
                waiting += each.values() if isinstance(each, dict) else each
    return count
