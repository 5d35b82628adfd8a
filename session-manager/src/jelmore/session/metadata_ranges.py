"""Ranges of metadata: `metadata.NAME[gte]=VALUE` finds sessions by numbers and times. Pure.

A value is compared with its own kind only: a number with JSON numbers, a time with texts that are dates or times of
ISO 8601. Everything else in that field is outside of every range.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from jelmore.session.errors import InvalidRequestError

_NAME: Final = re.compile(r"(?P<name>.+)\[(?P<comparison>[^\[\]]*)\]", re.DOTALL)
_NUMBER: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?")
_YEAR: Final = "[1-9][0-9]{3}"
_LEAP: Final = "([1-9][0-9](0[48]|[2468][048]|[13579][26])|([13579][26]|[2468][048])00)"
MOMENT: Final = (
    f"^({_YEAR}-(0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|{_YEAR}-(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    f"|{_YEAR}-02-(0[1-9]|1[0-9]|2[0-8])|{_LEAP}-02-29)"
    "([T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\\.[0-9]{1,6})?)?(Z|[+-](0[0-9]|1[0-4]):[0-5][0-9])?)?$"
)
"""Dates and times that exist, as a regular expression for PostgreSQL too: only these are converted there."""

_MOMENT: Final = re.compile(MOMENT)


class Comparison(StrEnum):
    """How a value in the metadata is compared with the given one."""

    GREATER = "gt"
    GREATER_OR_EQUAL = "gte"
    LESS = "lt"
    LESS_OR_EQUAL = "lte"


@dataclass(frozen=True, slots=True)
class MetadataRange:
    """A bound on the field `name` of the metadata. A time without a zone is in UTC, a date its first moment."""

    name: str
    comparison: Comparison
    value: Decimal | datetime

    def holds(self, found: object) -> bool:
        """Return whether a value of the metadata is within the bound."""
        known = number_of(found) if isinstance(self.value, Decimal) else moment_of(found)
        if known is None:
            return False
        match self.comparison:
            case Comparison.GREATER:
                return known > self.value  # type: ignore[operator]  # both are of the kind of `value`
            case Comparison.GREATER_OR_EQUAL:
                return known >= self.value  # type: ignore[operator]
            case Comparison.LESS:
                return known < self.value  # type: ignore[operator]
            case Comparison.LESS_OR_EQUAL:
                return known <= self.value  # type: ignore[operator]


def range_of(name: str, value: str) -> MetadataRange | None:
    """Return the range that `NAME[COMPARISON]` and its value ask for; None for the name of a field.

    Raises InvalidRequestError for an unknown comparison, and for a value that is neither a number nor a time.
    """
    parts = _NAME.fullmatch(name)
    if parts is None:
        return None
    shown = f"metadata.{name[:64]}"
    try:
        comparison = Comparison(parts["comparison"])
    except ValueError:
        known = ", ".join(each.value for each in Comparison)
        raise InvalidRequestError(f"{shown}: the comparison must be one of {known}") from None
    given = Decimal(value) if _NUMBER.fullmatch(value) else _in_utc(moment_of(value))
    if given is None:
        raise InvalidRequestError(
            f"{shown}: must be a number, or a date or time like 2026-01-31T12:00:00Z (encode + as %2B)"
        )
    return MetadataRange(parts["name"], comparison, given)


def _in_utc(moment: datetime | None) -> datetime | None:
    """Return a moment in UTC; None for one that is after the last year there, which no parameter can carry."""
    try:
        return None if moment is None else moment.astimezone(UTC)
    except OverflowError:
        return None


def number_of(value: object) -> Decimal | None:
    """Return a JSON number; None for anything else."""
    return Decimal(str(value)) if isinstance(value, int | float) and not isinstance(value, bool) else None


def moment_of(value: object) -> datetime | None:
    """Return the date or time in a text; None for anything else."""
    if not isinstance(value, str) or not _MOMENT.match(value):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:  # the text has a newline at its end
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
