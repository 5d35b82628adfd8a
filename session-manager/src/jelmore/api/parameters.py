"""Strict query parameters: unknown and repeated ones are refused by name, and numbers must be plain digits."""

import re
from typing import Any, Final

from fastapi.dependencies.models import Dependant
from pydantic import BeforeValidator
from starlette.datastructures import QueryParams

from jelmore.session.errors import InvalidRequestError

_DIGITS: Final = re.compile(r"[0-9]{1,19}")
_DECIMAL: Final = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})?")
_MAX_SHOWN: Final = 64
FREE_PREFIX: Final = "metadata."
"""Parameters with this prefix have names chosen by the caller; `paging.metadata_filters` checks them."""


def check_parameters(dependant: Dependant, given: QueryParams) -> None:
    """Raise InvalidRequestError for a query parameter that the route does not have, or that is wrongly repeated."""
    repeatable = _parameters(dependant)
    seen: set[str] = set()
    for name, _ in given.multi_items():
        if name.startswith(FREE_PREFIX) and "cursor" in repeatable:
            continue
        if name not in repeatable:
            known = ", ".join(sorted(repeatable)) or "none"
            raise InvalidRequestError(f"{_shown(name)}: is not a parameter of this request; it has: {known}")
        if name in seen and not repeatable[name]:
            raise InvalidRequestError(f"{name}: is given more than once")
        seen.add(name)


def _parameters(dependant: Dependant) -> dict[str, bool]:
    """Return the names of a route's query parameters and whether each may be repeated."""
    found = {field.alias: "list" in str(field.field_info.annotation) for field in dependant.query_params}
    for part in dependant.dependencies:
        found |= _parameters(part)
    return found


def _shown(name: str) -> str:
    text = name.encode("utf-8", "replace").decode()[:_MAX_SHOWN]
    return re.sub(r"\s", "_", text) or "''"


def _digits(value: Any) -> Any:
    """Return `value`. Raises ValueError for text that pydantic would accept as an integer: ` 1`, `+1`, `1_0`, `1.0`."""
    if isinstance(value, str) and not _DIGITS.fullmatch(value):
        raise ValueError("must be a whole number in plain digits")
    return value


Whole: Final = BeforeValidator(_digits)


def _decimal(value: Any) -> Any:
    """Return `value`. Raises ValueError for text that pydantic would accept as a number: ` 1`, `+1`, `1_0`, `1e2`."""
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError("must be a number in plain digits")
    return value


Decimal: Final = BeforeValidator(_decimal)
