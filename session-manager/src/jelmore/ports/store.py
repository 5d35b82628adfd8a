"""PostgreSQL: sessions, their output and events, keys and health checks."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, Protocol
from uuid import UUID

from jelmore.ports.keys import KeyStore
from jelmore.session.events import EventDraft
from jelmore.session.metadata_ranges import MetadataRange
from jelmore.session.output import Output
from jelmore.session.pool import Shape
from jelmore.session.record import Session
from jelmore.session.resources import Lags, Measurement, Totals
from jelmore.session.states import Presence, SessionStatus, WaitingFor


@dataclass(frozen=True, slots=True)
class Idempotency:
    """The idempotency key that a caller sent, and the digest of the request."""

    key: str
    request_digest: str


class Sort(StrEnum):
    """The order of a list; sessions with the same time are ordered by id. `-` means that the newest comes first."""

    NEWEST = "-created"
    OLDEST = "created"
    RECENTLY_ACTIVE = "-last_activity"
    LONGEST_QUIET = "last_activity"

    @property
    def by_activity(self) -> bool:
        """Whether the last activity decides, so that a position in the list has a time."""
        return self in {Sort.RECENTLY_ACTIVE, Sort.LONGEST_QUIET}


@dataclass(frozen=True, slots=True)
class ListQuery:
    """Filters and position of a page of sessions.

    `after` is the id of the last session on the previous page and `after_at` its creation or, when `sort` is by
    activity, its last activity. `words` is a search in the syntax of web search engines. A session matches `tags` when
    it has all of them.
    """

    limit: int = 100
    sort: Sort = Sort.NEWEST
    after: UUID | None = None
    after_at: datetime | None = None
    words: str | None = None
    created_after: datetime | None = None  # inclusive
    created_before: datetime | None = None  # exclusive
    waiting_for: WaitingFor | None = None
    pinned: bool | None = None
    tags: tuple[str, ...] = ()
    owner: str | None = None
    user_id: str | None = None
    statuses: tuple[SessionStatus, ...] = ()  # any of them; empty: all
    presence: Presence | None = None  # of live sessions
    archived: bool | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    metadata_ranges: tuple[MetadataRange, ...] = ()

    def typed_metadata(self) -> dict[str, Any]:
        """Return the metadata filter with numbers, booleans and null parsed from their text.

        A session matches when its metadata has all values as text, or all of these: `3` finds both "3" and 3.
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
    """An event as stored. `(session_id, seq)` identifies it everywhere."""

    session_id: UUID
    seq: int
    type: str
    at: datetime
    payload: Mapping[str, Any]
    output_seq: int | None
    version: int
    again: str | None = None  # set while it is published once more; the bus drops repeats with the same mark only


@dataclass(frozen=True, slots=True)
class Probe:
    """One health check of a session."""

    at: datetime
    healthy: bool
    latency_ms: float
    message: str = ""
    reading: Measurement = field(default_factory=Measurement)  # what the session uses; empty when it did not answer


class Page[T](list[T]):
    """Items in order. `more` is True when a limit of items or bytes cut the page, so that more may follow."""

    def __init__(self, items: Iterable[T] = (), *, more: bool = False) -> None:
        super().__init__(items)
        self.more = more


MAX_COUNTED: Final = 1000
"""Up to how many matches of a search are counted."""

QUERY_CHARACTERS: Final = 500
"""How much of a prompt a list shows."""


def short_query(query: str | None) -> str | None:
    """Return a prompt as a list shows it: cut to `QUERY_CHARACTERS`, with a mark if it is longer."""
    return query if query is None or len(query) <= QUERY_CHARACTERS else query[:QUERY_CHARACTERS] + "… [cut]"


class SessionStore(Protocol):
    """The session records. Every write is one transaction; a session's row is fenced by its `version`."""

    async def create(
        self,
        session: Session,
        drafts: Sequence[EventDraft],
        *,
        most_live: int,
        idempotency: Idempotency | None,
        warm: Shape | None = None,
    ) -> tuple[Session, bool]:
        """Insert a session and claim a slot, atomically; return the session and whether it is new.

        With `warm`, the session also claims a member of the warm pool of that shape, if there is one: it gets the
        member's id, and its sandbox with it. No two sessions claim the same member.
        A known idempotency key of the same owner returns the session that it created. Raises CapacityError when
        `most_live` sessions hold a slot, IdempotencyMismatchError when the key was used with another request.
        """

    async def replayed(self, owner: str, idempotency: Idempotency) -> Session | None:
        """Return the session that a key of this owner created, None for a new key. Raises IdempotencyMismatchError."""

    async def revive(self, session: Session, drafts: Sequence[EventDraft], *, most_live: int) -> Session:
        """Save a session that needs a slot again (resumed after its end or from hibernation).

        Works like `save`; also raises CapacityError when `most_live` sessions hold a slot.
        """

    async def load(self, session_id: UUID) -> Session:
        """Return the session. Raises UnknownSessionError."""

    async def load_many(self, session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        """Return the sessions that exist, by id."""

    async def save(self, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        """Write the record, its events and the output they come from; return the record with its new version.

        Raises StaleError, having written nothing, when the row's version is not `session.version`.
        """

    async def unfinished(self) -> Sequence[UUID]:
        """Return the sessions that have not ended, oldest first."""

    async def count(self) -> int:
        """Return the number of session records, ended ones included."""

    async def list(self, query: ListQuery) -> tuple[Page[Session], int]:
        """Return a page of summaries, bounded in bytes, and the number of sessions that match on all pages.

        Of a search, at most `MAX_COUNTED` are counted.

        A summary has the beginning of the prompt, but no system prompt, MCP servers or pending prompts. It must not be
        saved.
        """

    async def stats(self, owner: str | None) -> Mapping[SessionStatus, int]:
        """Return how many sessions are in each state; zero for those with none."""

    async def under_way(self, limit: int) -> tuple[Sequence[UUID], int]:
        """Return sessions with a turn that runs or is about to begin, the newest first, and how many there are.

        About to begin: the session starts or resumes. One that starts without a prompt is among them until it waits.
        """

    async def totals(self, owner: str | None) -> Totals:
        """Return the total use of the live sessions of one owner, or of all, according to their records."""

    async def waiting_events(self) -> int:
        """Return how many events wait to be published."""

    async def lags(self) -> Lags:
        """Return how long the oldest of what has to be done waits."""

    async def slots_used(self) -> int:
        """Return how many sessions hold a slot: live and not hibernated."""

    async def forget(self, session_id: UUID) -> None:
        """Delete an ended session's record, output and events. Succeeds when there is none."""

    async def expired(self, ended_before: datetime) -> Sequence[UUID]:
        """Return the sessions that ended before `ended_before`."""


class OutputStore(Protocol):
    """The output and events of sessions. `SessionStore.save` writes them."""

    async def output(
        self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[Output]:
        """Return stored output with a seq above `after`, in order.

        With `max_bytes`, the lines have at most that many bytes together, but one line is always returned if there is
        any.
        """

    async def events(
        self, session_id: UUID, after: int, limit: int, types: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[StoredEvent]:
        """Return stored events with a seq above `after`, in order. `max_bytes` limits the payloads, as in `output`."""

    async def note(self, draft: EventDraft) -> None:
        """Record an event of the system. Its session id is the nil UUID."""


class ProbeStore(Protocol):
    """The newest health checks of each session."""

    async def probe(self, session_id: UUID, probe: Probe) -> None:
        """Store a health check; only the last 100 of a session are kept."""

    async def probes(self, session_id: UUID) -> Sequence[Probe]:
        """Return the stored health checks, newest first."""


class Store(SessionStore, OutputStore, ProbeStore, KeyStore, Protocol):
    """PostgreSQL, the source of truth: when another store disagrees, this one is right."""

    async def check(self) -> None:
        """Return when the database answers and has the schema that this code needs; raise otherwise."""

    async def close(self) -> None:
        """Release connections."""
