"""Pagination of lists: opaque cursors, `Link` headers and the metadata filters of the query string."""

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from starlette.datastructures import QueryParams

from jelmore.ports import ListQuery, Page, StoredEvent
from jelmore.session.errors import InvalidRequestError
from jelmore.session.output import Output
from jelmore.session.record import Session

_CURSOR_VERSION: Final = b"1"
_ID_BYTES: Final = 16
_MOST_FILTERS: Final = 10
_MOST_CHARACTERS: Final = 256
_METADATA_PREFIX: Final = "metadata."


def encode_cursor(last: UUID) -> str:
    """Return the cursor of the page that follows the session `last`."""
    return base64.urlsafe_b64encode(_CURSOR_VERSION + last.bytes).decode().rstrip("=")


def decode_cursor(text: str) -> UUID:
    """Return the session id in a cursor. Raises InvalidRequestError."""
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if raw[:1] != _CURSOR_VERSION or len(raw) != 1 + _ID_BYTES:
        raise InvalidRequestError("cursor: is not one that a list has given")
    return UUID(bytes=raw[1:])


def metadata_filters(parameters: QueryParams) -> dict[str, str]:
    """Return the `metadata.NAME=VALUE` filters of a query string, by name. Raises InvalidRequestError."""
    found: dict[str, str] = {}
    for name, value in parameters.multi_items():
        if not name.startswith(_METADATA_PREFIX):
            continue
        key = name.removeprefix(_METADATA_PREFIX)
        if not key or key in found:
            raise InvalidRequestError(f"{name[:64]}: name one metadata field, once")
        if len(key) > _MOST_CHARACTERS or len(value) > _MOST_CHARACTERS or "\x00" in key + value:
            raise InvalidRequestError(f"{name[:64]}: must be plain text of at most {_MOST_CHARACTERS} characters")
        found[key] = value
    if len(found) > _MOST_FILTERS:
        raise InvalidRequestError(f"metadata: at most {_MOST_FILTERS} fields may be filtered by")
    return found


def page_headers(
    page: Page[Session], total: int, query: ListQuery, url: str, others: Mapping[str, str]
) -> dict[str, str]:
    """Return `X-Total-Count` and, unless this is the last page, `Link`. `others` are query parameters to keep."""
    headers = {"X-Total-Count": str(total)}
    if page.more:
        parameters = {**others, "limit": str(query.limit), "cursor": encode_cursor(page[-1].id)}
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
