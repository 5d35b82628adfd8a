"""Reads refusals (RFC 9457 problems) from answers."""

import json
from collections.abc import Mapping
from typing import Any, Final

from jelmore_client.errors import ApiError, Problem, ProtocolError, error_of

_MAX_SHOWN: Final = 300
_FIRST_ERROR: Final = 400


def check(status: int, headers: Mapping[str, str], body: bytes) -> None:
    """Return if the answer is a success. Raises ApiError."""
    if status >= _FIRST_ERROR:
        raise refusal(status, headers, body)


def refusal(status: int, headers: Mapping[str, str], body: bytes) -> ApiError:
    """Return the error of a refusal. An answer of a proxy in between, which is not a problem, becomes one."""
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    fields: dict[str, Any] = found if isinstance(found, dict) else {}
    detail = str(fields.get("detail") or ("" if fields else body.decode("utf-8", "replace").strip()[:_MAX_SHOWN]))
    after = headers.get("retry-after", "")
    return error_of(
        Problem(
            status=status,
            code=str(fields.get("code") or "http_error"),
            title=str(fields.get("title") or f"HTTP {status}"),
            detail=detail,
            request_id=str(fields.get("request_id") or headers.get("x-request-id") or ""),
            retryable=bool(fields.get("retryable", status in {429, 502, 503, 504})),
            retry_after_s=float(after) if after.isdecimal() else None,
            fields=tuple(
                (str(each.get("field", "")), str(each.get("message", "")))
                for each in fields.get("errors") or []
                if isinstance(each, dict)
            ),
        )
    )


def parse(body: bytes) -> Any:
    """Return the JSON of a successful answer. Raises ProtocolError."""
    try:
        return json.loads(body) if body else None
    except ValueError:
        raise ProtocolError(f"not JSON: {body[:80]!r}; is the URL that of a Jelmore server?") from None


def items_of(found: Any, field: str | None = None) -> list[Any]:
    """Return an answer that is a list, or the list in a field of it. Raises ProtocolError."""
    items = found.get(field) if field is not None and isinstance(found, dict) else found
    if not isinstance(items, list):
        raise ProtocolError("not the list that Jelmore's API sends; is the URL that of a Jelmore server?")
    return items
