"""PostgreSQL: sessions, their output and events, keys and health checks."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol
from uuid import UUID

from jelmore.ports.keys import KeyStore
from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore.session.resources import Measurement, Totals
from jelmore.session.states import SessionStatus


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A caller's key for one request and the digest of that request."""

    key: str
    request_digest: str


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of sessions, newest first. `before` is the id the last page ended with."""

    limit: int = 100
    before: UUID | None = None
    owner: str | None = None
    user_id: str | None = None
    status: SessionStatus | None = None
    archived: bool | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def typed_metadata(self) -> dict[str, Any]:
        """Return the filter with numbers, booleans and null as such: `3` finds what holds "3" and what holds 3.

        A session matches when it has all values as text, or all of these.
        """
        return {name: _typed(value) for name, value in self.metadata.items()}


def _typed(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    finite = isinstance(value, bool | int | None) or (isinstance(value, float) and math.isfinite(value))
    return value if finite else text


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A row of the outbox: `(session_id, seq)` is its identity everywhere."""

    session_id: UUID
    seq: int
    type: str
    at: datetime
    payload: Mapping[str, Any]
    output_seq: int | None
    version: int


@dataclass(frozen=True, slots=True)
class Probe:
    """One health check of a session."""

    at: datetime
    healthy: bool
    latency_ms: float
    message: str = ""
    reading: Measurement = field(default_factory=Measurement)  # what the session uses; empty when it did not answer


class Page[T](list[T]):
    """Numbered things in order. `more`: it was cut, at a number of things or of bytes, and may go on."""

    def __init__(self, items: Iterable[T] = (), *, more: bool = False) -> None:
        super().__init__(items)
        self.more = more


QUERY_CHARACTERS: Final = 500
"""A list shows so much of a prompt."""


def short_query(query: str | None) -> str | None:
    """Return a prompt as a list shows it: a longer one is cut, with a mark."""
    return query if query is None or len(query) <= QUERY_CHARACTERS else query[:QUERY_CHARACTERS] + "… [cut]"


class SessionStore(Protocol):
    """The records of sessions. Every write is one transaction; a session's row is fenced by its `version`."""

    async def create(
        self, session: Session, drafts: Sequence[EventDraft], *, most_live: int, idempotency: Idempotency | None
    ) -> tuple[Session, bool]:
        """Insert a session and claim a slot, atomically; return it and whether it is new.

        A known idempotency key of the same owner returns the session it made. Raises CapacityError when
        `most_live` sessions hold a slot, IdempotencyMismatchError when the key was used with another request.
        """

    async def revive(self, session: Session, drafts: Sequence[EventDraft], *, most_live: int) -> Session:
        """Like `save`, for a session that needs a slot again (resumed, or woken from hibernation)."""

    async def load(self, session_id: UUID) -> Session:
        """Return the session. Raises UnknownSessionError."""

    async def load_many(self, session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        """Return those of the sessions that there are."""

    async def save(self, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        """Write the record, its events and the output they come from; return it with the next version.

        Raises StaleError, having written nothing, when the row's version is not `session.version`.
        """

    async def unfinished(self) -> Sequence[UUID]:
        """Return the sessions that have not ended, oldest first: all that need a look."""

    async def count(self) -> int:
        """Return how many sessions there are at all."""

    async def list(self, query: ListQuery) -> tuple[Page[Session], int]:
        """Return a page of summaries, bounded in bytes, and the number of sessions that match without paging.

        A summary has the beginning of the prompt, no system prompt, no MCP servers and no pending prompts. It is never
        saved.
        """

    async def stats(self, owner: str | None) -> Mapping[SessionStatus, int]:
        """Return how many sessions are in each state; zero for those with none."""

    async def totals(self, owner: str | None) -> Totals:
        """Return what the live sessions use together, of one owner or of all, by their records."""

    async def waiting_events(self) -> int:
        """Return how many events wait to be published."""

    async def slots_used(self) -> int:
        """Return how many sessions hold a slot: live and not hibernated."""

    async def forget(self, session_id: UUID) -> None:
        """Delete an ended session's record, output and events. Absent is success."""

    async def expired(self, ended_before: datetime) -> Sequence[UUID]:
        """Return sessions that ended before that moment."""


class OutputStore(Protocol):
    """What sessions printed and what happened to them; written by `SessionStore.save`."""

    async def output(
        self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[Output]:
        """Return stored output with a seq above `after`, in order.

        With `max_bytes`, no more lines than have so many bytes together, but always one if there is any.
        """

    async def events(
        self, session_id: UUID, after: int, limit: int, types: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[StoredEvent]:
        """Return stored events with a seq above `after`, in order; `max_bytes`, of their payloads, as for output."""

    async def note(self, draft: EventDraft) -> None:
        """Record an event of the system itself; its session is the nil UUID."""


class ProbeStore(Protocol):
    """The newest health checks of each session."""

    async def probe(self, session_id: UUID, probe: Probe) -> None:
        """Keep a health check; the last 100 of a session stay."""

    async def probes(self, session_id: UUID) -> Sequence[Probe]:
        """Return the kept health checks, newest first."""


class Store(SessionStore, OutputStore, ProbeStore, KeyStore, Protocol):
    """PostgreSQL: the truth."""

    async def check(self) -> None:
        """Return when the database answers and its schema is the one this code needs."""

    async def close(self) -> None:
        """Release connections."""
