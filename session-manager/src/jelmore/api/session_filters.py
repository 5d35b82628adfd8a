"""The filters, the order and the position of a list of sessions, from the query string."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime, BeforeValidator

from jelmore.api.paging import decode_cursor, metadata_filters
from jelmore.api.parameters import Whole
from jelmore.api.schemas import MAX_TAG_CHARACTERS, MAX_TAGS
from jelmore.ports import ListQuery, Sort
from jelmore.session.errors import InvalidRequestError
from jelmore.session.metadata_ranges import MetadataRange
from jelmore.session.states import SessionStatus, WaitingFor

MAX_SEARCH_CHARACTERS = 256


def _moment(value: Any) -> Any:
    """Return `value`. Raises ValueError for numbers, and names the usual mistake: a `+` that is not encoded."""
    if isinstance(value, str) and "-" not in value[:8]:
        raise ValueError("must be a time like 2026-01-31T12:00:00Z")
    if isinstance(value, str) and " " in value[11:]:
        raise ValueError("must be a time like 2026-01-31T12:00:00Z; encode + as %2B")
    return value


Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
Plain = r"^[^\x00]*$"


async def _list_query(
    request: Request,
    *,
    q: Annotated[
        str | None,
        Query(
            max_length=MAX_SEARCH_CHARACTERS,
            pattern=Plain,
            description='Words of a title, a prompt or an answer. Also `"a phrase"`, `or`, and `-without`.',
        ),
    ] = None,
    user_id: Annotated[str | None, Query(max_length=256)] = None,
    status: Annotated[
        list[SessionStatus] | None,
        Query(description="Is in this state; may be repeated, and then it is in one of them."),
    ] = None,
    waiting_for: WaitingFor | None = None,
    created_after: Annotated[Moment | None, Query(description="Created then or later.")] = None,
    created_before: Annotated[Moment | None, Query(description="Created before.")] = None,
    tag: Annotated[
        list[str] | None, Query(description="Has this tag; may be repeated, and then it has all of them.")
    ] = None,
    pinned: bool | None = None,
    archived: Annotated[
        Literal["true", "false", "all"],
        Query(description="Archived sessions only, none of them, or both kinds. Archiving ends nothing."),
    ] = "false",
    sort: Annotated[Sort, Query(description="`-` is the newest first.")] = Sort.NEWEST,
    limit: Annotated[int, Query(ge=1, le=1000), Whole] = 100,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> ListQuery:
    if user_id is not None and "\x00" in user_id:
        raise InvalidRequestError("user_id: must not contain the character NUL")
    position = None if cursor is None else decode_cursor(cursor, sort)
    metadata = metadata_filters(request.query_params)
    return ListQuery(
        limit=limit,
        sort=sort,
        after=None if position is None else position.id,
        after_at=None if position is None else position.at,
        words=q if q and q.strip() else None,
        user_id=user_id,
        statuses=tuple(dict.fromkeys(status or ())),
        waiting_for=waiting_for,
        created_after=created_after,
        created_before=created_before,
        tags=_tags(tag or ()),
        pinned=pinned,
        archived=None if archived == "all" else archived == "true",
        metadata=metadata.values,
        metadata_ranges=metadata.ranges,
    )


def _tags(tags: Sequence[str]) -> tuple[str, ...]:
    if len(tags) > MAX_TAGS or any(len(tag) > MAX_TAG_CHARACTERS or "\x00" in tag for tag in tags):
        raise InvalidRequestError(f"tag: at most {MAX_TAGS}, of at most {MAX_TAG_CHARACTERS} characters")
    return tuple(dict.fromkeys(tags))


def _text(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


ListQueryOf = Annotated[ListQuery, Depends(_list_query)]


def kept_parameters(query: ListQuery) -> list[tuple[str, str]]:
    """Return the parameters of a list that its next page has too, without `limit` and `cursor`."""
    archived = {None: "all", True: "true", False: "false"}[query.archived]
    kept: dict[str, str | None] = {
        "q": query.words,
        "user_id": query.user_id,
        "waiting_for": query.waiting_for and query.waiting_for.value,
        "created_after": _text(query.created_after),
        "created_before": _text(query.created_before),
        "pinned": None if query.pinned is None else str(query.pinned).lower(),
        "archived": archived,
        "sort": None if query.sort is Sort.NEWEST else query.sort.value,
    }
    parameters = [(name, value) for name, value in kept.items() if value is not None]
    parameters += [("status", status.value) for status in query.statuses]
    parameters += [("tag", tag) for tag in query.tags]
    parameters += [(f"metadata.{name}", value) for name, value in query.metadata.items()]
    return parameters + [
        (f"metadata.{each.name}[{each.comparison.value}]", _range_value(each)) for each in query.metadata_ranges
    ]


def _range_value(bound: MetadataRange) -> str:
    return bound.value.isoformat() if isinstance(bound.value, datetime) else format(bound.value, "f")
