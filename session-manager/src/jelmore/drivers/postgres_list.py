"""Lists of sessions: composes the query of a page from the filters and the order that were asked for."""

from collections.abc import Sequence
from typing import Final

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Connection
from jelmore.drivers.postgres_rows import Row, summary_of
from jelmore.ports import ListQuery, Page, Sort
from jelmore.ports.store import MAX_COUNTED
from jelmore.session.plain_text import storable_text, to_json
from jelmore.session.record import Session

MAX_LIST_BYTES: Final = 2 * 1024 * 1024

_LIST = sql.queries("list")

_ORDERS: Final = {
    Sort.NEWEST: (
        "created_at desc, id desc",
        "(:after_at::timestamptz is null or (created_at, id) < (:after_at, :after::uuid))",
    ),
    Sort.OLDEST: (
        "created_at, id",
        "(:after_at::timestamptz is null or (created_at, id) > (:after_at, :after::uuid))",
    ),
    Sort.RECENTLY_ACTIVE: (
        "last_activity_at desc, id desc",
        "(:after_at::timestamptz is null or (last_activity_at, id) < (:after_at, :after::uuid))",
    ),
    Sort.LONGEST_QUIET: (
        "last_activity_at, id",
        "(:after_at::timestamptz is null or (last_activity_at, id) > (:after_at, :after::uuid))",
    ),
}


def page_query(query: ListQuery) -> tuple[str, list[object]]:
    """Return the SQL of a page and its values."""
    order, after = _ORDERS[query.sort]
    text = _LIST["page"].replace("{order}", order).replace("{after}", after)
    return _bound(text, query)


def total_query(query: ListQuery) -> tuple[str, list[object]]:
    """Return the SQL of the number of sessions on all pages, and its values."""
    return _bound(_LIST["total"], query)


async def read_list(connection: Connection, query: ListQuery) -> tuple[Page[Session], int]:
    """Return a page of summaries and the number of sessions on all pages. Needs a transaction."""
    texts = (query.owner, query.user_id, query.words, *query.tags, _metadata(query))
    if not all(storable_text(text) for text in texts if text):
        return Page(), 0  # nothing stored can match
    await connection.execute(_LIST["plan_each"])
    page, values = page_query(query)
    rows = await connection.fetch(page, *values)
    total, values = total_query(query)
    count = await connection.fetchval(total, *values)
    return Page((summary_of(row) for row in rows), more=has_more(rows, query.limit)), count


def has_more(rows: Sequence[Row], limit: int) -> bool:
    """Return whether more may follow a page: it is full, or a bound of bytes cut it."""
    return bool(rows) and (len(rows) >= limit or len(rows) < rows[0]["found"])


def _bound(text: str, query: ListQuery) -> tuple[str, list[object]]:
    filters = _LIST["filters"] + ("\n" + _LIST["words"] if query.words else "")
    values: dict[str, object] = {
        "after": query.after,
        "after_at": query.after_at,
        "limit": query.limit,
        "most": MAX_COUNTED if query.words else None,
        "most_bytes": MAX_LIST_BYTES,
        "owner": query.owner,
        "user_id": query.user_id,
        "status": query.status and query.status.value,
        "archived": query.archived,
        "pinned": query.pinned,
        "waiting_for": query.waiting_for and query.waiting_for.value,
        "created_after": query.created_after,
        "created_before": query.created_before,
        "tags": list(query.tags),
        "metadata": _metadata(query),
        "words": query.words,
    }
    return sql.bind(text.replace("{filters}", filters), values)


def _metadata(query: ListQuery) -> str:
    return to_json([dict(query.metadata), query.typed_metadata()])
