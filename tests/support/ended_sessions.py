"""Sessions that have ended, with any transcript, written into the store: for pages that only show what was said."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from jelmore.drivers.postgres_store import PostgresStore
from jelmore.session.record import Detail, Session, Spec
from jelmore.session.states import Fact
from jelmore_protocol.events import EventKind
from tests.support.records import line


async def ended_session(store: PostgresStore, events: Sequence[tuple[EventKind, dict[str, Any]]]) -> UUID:
    """Return an ended session whose output is `events`, numbered from 1. Forget it with `store.forget`."""
    now = datetime.now(UTC)
    made = Session(id=uuid7(), owner="test", spec=Spec(), created_at=now, last_activity_at=now, since=now)
    session, _ = await store.create(made, [], most_live=10_000, idempotency=None)
    outputs = [line(seq, data, kind) for seq, (kind, data) in enumerate(events, 1)]
    session = await store.save(replace(session, output_seq=len(outputs)), [], outputs)
    ended, drafts = session.after(Fact.EXITED, now, Detail(reason="test"))
    await store.save(ended, drafts, [])
    return session.id


def answer(text: str) -> tuple[EventKind, dict[str, Any]]:
    """Return what the agent said."""
    return EventKind.SAID, {"role": "assistant", "text": text, "thinking": False}
