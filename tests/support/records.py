"""Records to test with."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import uuid_utils.compat as uuids

from jelmore.ports import Store
from jelmore.session.events import EventDraft, EventType
from jelmore.session.output import Output
from jelmore.session.record import Detail, Session, Spec
from jelmore.session.states import Fact
from jelmore_protocol.events import Event, EventKind

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def new_id() -> UUID:
    """Return an id as the manager makes them: later ones sort after earlier ones."""
    return uuids.uuid7()


def new_session(**changes: Any) -> Session:
    """Return a session as it is before it is stored."""
    plain: dict[str, Any] = {
        "id": new_id(),
        "owner": "alice",
        "spec": Spec(query="hello", user_id="user-1"),
        "created_at": MOMENT,
        "last_activity_at": MOMENT,
        "since": MOMENT,
    }
    return Session(**{**plain, **changes})


def ended(session: Session, at: datetime = MOMENT) -> tuple[Session, list[EventDraft]]:
    """Return the session as its agent's end leaves it."""
    return session.after(Fact.EXITED, at, Detail(reason="done"))


def line(seq: int, data: dict[str, Any] | None = None, kind: EventKind = EventKind.MESSAGE) -> Output:
    """Return a line of output as the runner journals it."""
    at = MOMENT.replace(microsecond=0) + timedelta(milliseconds=seq % 1000)
    event = Event(seq=seq, kind=kind, at=at, data=data if data is not None else {"n": seq})
    return Output(seq, kind.value, at, event.model_dump_json())


def lines(first: int, last: int) -> list[Output]:
    """Return consecutive lines of output."""
    return [line(seq) for seq in range(first, last + 1)]


def draft(number: int = 0, **payload: Any) -> EventDraft:
    """Return an event to be recorded."""
    return EventDraft(EventType.COMMAND_SENT, {"n": number, **payload})


ROOM = 1000


async def created(store: Store, *drafts: EventDraft, **changes: object) -> Session:
    """Return a stored session."""
    session, _ = await store.create(new_session(**changes), drafts, most_live=ROOM, idempotency=None)
    return session
