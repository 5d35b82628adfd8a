"""Pagination of lists: opaque cursors, `Link` headers and the metadata filters of the query string."""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, Query, Response
from starlette.datastructures import QueryParams

from jelmore.api.parameters import Whole
from jelmore.ports import ListQuery, Page, Sort, StoredEvent
from jelmore.session.errors import InvalidRequestError
from jelmore.session.metadata_ranges import MetadataRange, range_of
from jelmore.session.output import Output
from jelmore.session.record import Session

_BY_ID: Final = b"1"
_BY_ACTIVITY: Final = b"2"
_BY_CREATION: Final = b"3"
"""The first byte of a cursor: its form. Earlier versions gave `_BY_ID` for lists in the order of creation."""

_TIME: Final = struct.Struct(">q")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ID_BYTES: Final = 16
_MAX_FILTERS: Final = 10
_MAX_CHARACTERS: Final = 256
_METADATA_PREFIX: Final = "metadata."


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page of sessions ended: the last session, and the time of it that orders the list."""

    id: UUID
    at: datetime


def encode_cursor(last: Position, sort: Sort) -> str:
    """Return the cursor of the page that follows a position."""
    raw = _form_of(sort) + _TIME.pack(_micros(last.at)) + last.id.bytes
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def decode_cursor(text: str, sort: Sort) -> Position:
    """Return the position in a cursor. Raises InvalidRequestError, also for a cursor of a list in another order."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    timed = 1 + _TIME.size + _ID_BYTES
    sizes = {_BY_ID: 1 + _ID_BYTES, _BY_ACTIVITY: timed, _BY_CREATION: timed}
    if len(raw) != sizes.get(raw[:1]):
        raise InvalidRequestError("cursor: is not one that a list has given")
    if (raw[:1] == _BY_ACTIVITY) is not sort.by_activity:
        raise InvalidRequestError("cursor: is of a list with another `sort`")
    last = UUID(bytes=raw[-_ID_BYTES:])
    micros = _made_at(last) if raw[:1] == _BY_ID else _TIME.unpack(raw[1 : 1 + _TIME.size])[0]
    try:
        return Position(last, _EPOCH + timedelta(microseconds=micros))
    except OverflowError:
        raise InvalidRequestError("cursor: is not one that a list has given") from None


def _form_of(sort: Sort) -> bytes:
    return _BY_ACTIVITY if sort.by_activity else _BY_CREATION


def _made_at(session_id: UUID) -> int:
    """Return when an id was made, in microseconds: ids of version 7 begin with their time in milliseconds."""
    return (session_id.int >> 80) * 1000


def _micros(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class MetadataFilters:
    """What the metadata of a session must have: these values, and values within these ranges."""

    values: dict[str, str]
    ranges: tuple[MetadataRange, ...]


def metadata_filters(parameters: QueryParams) -> MetadataFilters:
    """Return the `metadata.NAME=VALUE` and `metadata.NAME[gte]=VALUE` filters. Raises InvalidRequestError."""
    values: dict[str, str] = {}
    ranges: dict[str, MetadataRange] = {}
    for name, value in parameters.multi_items():
        if not name.startswith(_METADATA_PREFIX):
            continue
        key = name.removeprefix(_METADATA_PREFIX)
        if not key or key in values or key in ranges:
            raise InvalidRequestError(f"{name[:64]}: name one metadata field, once")
        if len(key) > _MAX_CHARACTERS or len(value) > _MAX_CHARACTERS or "\x00" in key + value:
            raise InvalidRequestError(f"{name[:64]}: must be plain text of at most {_MAX_CHARACTERS} characters")
        found = range_of(key, value)
        if found is None:
            values[key] = value
        else:
            ranges[key] = found
    if len(values) + len(ranges) > _MAX_FILTERS:
        raise InvalidRequestError(f"metadata: at most {_MAX_FILTERS} fields may be filtered by")
    return MetadataFilters(values, tuple(ranges.values()))


def page_headers(
    page: Page[Session], total: int, query: ListQuery, url: str, others: Sequence[tuple[str, str]]
) -> dict[str, str]:
    """Return `X-Total-Count` and, unless this is the last page, `Link`. `others` are query parameters to keep."""
    headers = {"X-Total-Count": str(total)}
    if page.more:
        at = page[-1].last_activity_at if query.sort.by_activity else page[-1].created_at
        cursor = encode_cursor(Position(page[-1].id, at), query.sort)
        parameters = [*others, ("limit", str(query.limit)), ("cursor", cursor)]
        headers["Link"] = f'<{url}?{urlencode(parameters)}>; rel="next"'
    return headers


def next_headers(
    url: str, limit: int, page: Page[Output] | Page[StoredEvent], others: Sequence[tuple[str, str]] = ()
) -> dict[str, str]:
    """Return the `Link` to the next page of output or events; nothing after the last page."""
    if not page.more:
        return {}
    parameters = [*others, ("after", str(page[-1].seq)), ("limit", str(limit))]
    return {"Link": f'<{url}?{urlencode(parameters)}>; rel="next"'}


@dataclass(frozen=True, slots=True)
class SeqPage:
    """The page that a caller asks for, of entries with consecutive numbers."""

    after: Annotated[int, Query(ge=0, le=2**62, description="Only what has a higher seq."), Whole] = 0
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 100

    def add_next_link(
        self, response: Response, page: Page[Output] | Page[StoredEvent], url: str, **kept: Sequence[str]
    ) -> None:
        """Add the `Link` to the page that follows `page`, if one does. `kept` are query parameters to repeat in it."""
        others = [(name, each) for name, values in kept.items() for each in values]
        response.headers.update(next_headers(url, self.limit, page, others))


PageOf = Annotated[SeqPage, Depends()]
