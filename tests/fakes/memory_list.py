"""Which sessions a list of the store in memory has, and in which order."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from jelmore.ports import ListQuery, Sort
from jelmore.ports.store import short_query
from jelmore.session.record import Session


def matches(session: Session, query: ListQuery) -> bool:
    return (
        query.owner in {None, session.owner}
        and query.user_id in {None, session.spec.user_id}
        and (not query.statuses or session.status in query.statuses)
        and (query.presence is None or (query.presence is session.presence and not session.ended))
        and query.archived in {None, session.archived}
        and query.pinned in {None, session.pinned}
        and query.waiting_for in {None, session.waiting_for}
        and (query.created_after is None or session.created_at >= query.created_after)
        and (query.created_before is None or session.created_at < query.created_before)
        and set(query.tags) <= set(session.tags)
        and any(holds(session.metadata, wanted) for wanted in (query.metadata, query.typed_metadata()))
        and all(each.holds(session.metadata.get(each.name)) for each in query.metadata_ranges)
    )


def place(session: Session, sort: Sort) -> tuple[datetime, UUID]:
    return (session.last_activity_at if sort.by_activity else session.created_at), session.id


def is_after(place: tuple[datetime, UUID], query: ListQuery) -> bool:
    if query.after is None:
        return True
    last = (query.after_at or place[0], query.after)
    return place < last if query.sort.value.startswith("-") else place > last


def holds(metadata: Mapping[str, object], wanted: Mapping[str, object]) -> bool:
    def same(one: object, other: object) -> bool:
        return one == other and isinstance(one, bool) == isinstance(other, bool)

    return all(name in metadata and same(metadata[name], value) for name, value in wanted.items())


def summary(session: Session) -> Session:
    spec = replace(session.spec, query=short_query(session.spec.query), system_prompt=None, mcp_servers={})
    return replace(session, spec=spec, pending=())
