"""Field types of the request bodies: bounded, and storable in PostgreSQL."""

from typing import Annotated, Any, Final

from pydantic import AfterValidator, ConfigDict

from jelmore_protocol.bounded_shape import BoundedShape
from jelmore_protocol.bounds import Name

MAX_DEPTH: Final = 20
MAX_ARGUMENT_BYTES: Final = 120_000
"""Bound of a value that becomes one argument of Claude Code's command line.

Linux allows 131,071 bytes per argument, and Claude Code adds some of its own.
"""


def storable(text: str) -> str:
    """Return `text`. Raises ValueError for what PostgreSQL cannot store: NUL and unpaired surrogates."""
    if "\x00" in text:
        raise ValueError("must not contain the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode") from None
    return text


def storable_json(value: Any, depth: int = 0) -> Any:
    """Return `value`. Raises ValueError for what PostgreSQL cannot store, anywhere in it."""
    if depth > MAX_DEPTH:
        raise ValueError(f"must not be nested deeper than {MAX_DEPTH}")
    match value:
        case str():
            storable(value)
        case float() if value - value != 0:
            raise ValueError("must not contain NaN or an infinity")
        case dict():
            for key, item in value.items():
                storable(key)
                storable_json(item, depth + 1)
        case list():
            for item in value:
                storable_json(item, depth + 1)
        case _:
            pass
    return value


def argument(text: str) -> str:
    """Return `text`. Raises ValueError if it is too long for one argument."""
    size = len(text.encode())
    if size > MAX_ARGUMENT_BYTES:
        raise ValueError(f"must not exceed {MAX_ARGUMENT_BYTES} bytes, has {size}")
    return text


def argument_list(words: list[str]) -> list[str]:
    """Return `words`. Raises ValueError if they are too long for one argument, joined by commas."""
    argument(",".join(words))
    return words


Line = Annotated[Name, AfterValidator(storable)]
Text = Annotated[str, AfterValidator(storable)]


class Body(BoundedShape):
    """Base class of the request bodies."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)
