"""Lists of sessions: composes the query of a page from the filters and the order that were asked for."""

from collections.abc import Sequence
from datetime import datetime
from string import ascii_lowercase
from typing import Final

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Connection
from jelmore.drivers.postgres_rows import Row, summary_of
from jelmore.ports import ListQuery, Page, Sort
from jelmore.ports.store import MAX_COUNTED
from jelmore.session.metadata_ranges import MOMENT, Comparison, MetadataRange
from jelmore.session.plain_text import storable_text, to_json
from jelmore.session.record import Session
from jelmore.session.states import ENDED

MAX_LIST_BYTES: Final = 2 * 1024 * 1024

_LIST = sql.queries("list")

_ORDERS: Final = {
    Sort.NEWEST: (
        "created_at desc, id desc",
        "(created_at, id) < (:after_at::timestamptz, :after::uuid)",
    ),
    Sort.OLDEST: (
        "created_at, id",
        "(created_at, id) > (:after_at::timestamptz, :after::uuid)",
    ),
    Sort.RECENTLY_ACTIVE: (
        "last_activity_at desc, id desc",
        "(last_activity_at, id) < (:after_at::timestamptz, :after::uuid)",
    ),
    Sort.LONGEST_QUIET: (
        "last_activity_at, id",
        "(last_activity_at, id) > (:after_at::timestamptz, :after::uuid)",
    ),
}


_COMPARISONS: Final = {
    Comparison.GREATER: ">",
    Comparison.GREATER_OR_EQUAL: ">=",
    Comparison.LESS: "<",
    Comparison.LESS_OR_EQUAL: "<=",
}


def page_query(query: ListQuery, *, found: int = MAX_COUNTED) -> tuple[str, list[object]]:
    """Return the SQL of a page and its values. `found` is how many texts have the words that are searched."""
    order, after = _ORDERS[query.sort]
    conditions = [*_conditions(query, found), *([] if query.after_at is None else [after])]
    text = _LIST["page"].replace("{order}", order)
    return sql.bind(text.replace("{filters}", "\nand ".join(conditions)), _values(query))


def total_query(query: ListQuery, *, found: int = MAX_COUNTED) -> tuple[str, list[object]]:
    """Return the SQL of the number of sessions on all pages, and its values. `found` is as in `page_query`."""
    conditions = "\nand ".join(_conditions(query, found))
    return sql.bind(_LIST["total"].replace("{filters}", conditions), _values(query))


async def read_list(connection: Connection, query: ListQuery) -> tuple[Page[Session], int]:
    """Return a page of summaries and the number of sessions on all pages. Needs a transaction."""
    keys = [each.name for each in query.metadata_ranges]
    texts = (query.owner, query.user_id, query.words, *query.tags, _metadata(query), *keys)
    if not all(storable_text(text) for text in texts if text):
        return Page(), 0  # nothing stored can match
    await connection.execute(_LIST["plan_each"])
    found = await texts_found(connection, query.words) if query.words else 0
    page, values = page_query(query, found=found)
    rows = await connection.fetch(page, *values)
    total, values = total_query(query, found=found)
    count = await connection.fetchval(total, *values)
    return Page((summary_of(row) for row in rows), more=has_more(rows, query.limit)), count


async def texts_found(connection: Connection, words: str) -> int:
    """Return how many texts have the words, up to `MAX_COUNTED`. PostgreSQL's own guess of it is often far off."""
    text, values = sql.bind(_LIST["words_found"], {"words": words, "most": MAX_COUNTED})
    return int(await connection.fetchval(text, *values))


def has_more(rows: Sequence[Row], limit: int) -> bool:
    """Return whether more may follow a page: it is full, or a bound of bytes cut it."""
    return bool(rows) and (len(rows) >= limit or len(rows) < rows[0]["found"])


def _conditions(query: ListQuery, found: int) -> list[str]:
    """Return the SQL of the filters that are set."""
    words = _LIST["few_words"] if found < MAX_COUNTED else _LIST["many_words"]
    statuses = _LIST["statuses"] if ENDED.intersection(query.statuses) else _LIST["live_statuses"]
    given: list[tuple[object, str]] = [
        (query.owner, _LIST["owner"]),
        (query.user_id, _LIST["user_id"]),
        (query.statuses or None, statuses),
        (query.presence, _LIST["presence"]),
        (query.archived, _LIST["archived"]),
        (query.pinned, _LIST["pinned"]),
        (query.waiting_for, _LIST["waiting_for"]),
        (query.created_after, _LIST["created_after"]),
        (query.created_before, _LIST["created_before"]),
        (query.tags or None, _LIST["tags"]),
        (query.metadata or None, _LIST["metadata"]),
        (query.words or None, words),
    ]
    found_all = [condition for value, condition in given if value is not None]
    return [*found_all, *(_range(at, each) for at, each in enumerate(query.metadata_ranges))] or [_LIST["all"]]


def _range(at: int, bound: MetadataRange) -> str:
    """Return the SQL of the range with this number among those of the query."""
    condition = _LIST["metadata_time"] if isinstance(bound.value, datetime) else _LIST["metadata_number"]
    numbered = condition.replace(":key", f":key_{_letter(at)}").replace(":bound", f":bound_{_letter(at)}")
    return numbered.replace("{comparison}", _COMPARISONS[bound.comparison])


def _letter(at: int) -> str:
    """Return the ending of a range's parameters: their names have no digits."""
    return ascii_lowercase[at]


def _values(query: ListQuery) -> dict[str, object]:
    bounds: dict[str, object] = {}
    for at, each in enumerate(query.metadata_ranges):
        bounds |= {f"key_{_letter(at)}": each.name, f"bound_{_letter(at)}": each.value}
    return {
        **bounds,
        "moment": MOMENT,
        "after": query.after,
        "after_at": query.after_at,
        "limit": query.limit,
        "most": MAX_COUNTED if query.words else None,
        "most_bytes": MAX_LIST_BYTES,
        "owner": query.owner,
        "user_id": query.user_id,
        "statuses": [each.value for each in query.statuses],
        "presence": query.presence and query.presence.value,
        "archived": query.archived,
        "pinned": query.pinned,
        "waiting_for": query.waiting_for and query.waiting_for.value,
        "created_after": query.created_after,
        "created_before": query.created_before,
        "tags": list(query.tags),
        "metadata": _metadata(query),
        "words": query.words,
    }


def _metadata(query: ListQuery) -> str:
    return to_json([dict(query.metadata), query.typed_metadata()])
