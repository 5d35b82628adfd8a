"""Everything outside this process, as the control plane wants to see it. Read this second, after `session/`.

Every method has a deadline of its own and raises only from `jelmore.session.errors`: `DependencyError` when the
other side is away (retry), `RefusedError` when it said no for good. Concrete classes meet only in `bootstrap.py`.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID

from jelmore.session.events import EventDraft
from jelmore.session.limits import Limits
from jelmore.session.reading import Output
from jelmore.session.record import Session
from jelmore.session.resources import Reading, Totals
from jelmore.session.states import SessionStatus
from jelmore.session.steps import Box, Route
from jelmore_wire.control import (
    Change,
    Health,
    Init,
    InputAccepted,
    InputRequest,
    PermissionAnswer,
    Quiet,
    Stop,
    WorkspaceLimit,
)

# --- containers -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener is: `unix:/path` or `tcp:host:port`, as text."""

    text: str


@dataclass(frozen=True, slots=True)
class BoxSpec:
    """What one container is made from."""

    session_id: UUID
    generation: int
    limits: Limits


@dataclass(frozen=True, slots=True)
class FoundBox:
    """A container that carries our labels, whether or not any record knows it."""

    session_id: UUID
    box: Box
    created_at: datetime


class Sandboxes(Protocol):
    """The engine. The only place that knows what a container is made of."""

    async def check(self) -> None:
        """Return when the engine answers and can start a session. RefusedError names a missing image."""

    async def look(self, session_id: UUID) -> Box | None:
        """Return the newest container of a session."""

    async def found(self) -> Sequence[FoundBox]:
        """Return the newest container of each session of this installation; older ones may be removed on the way."""

    async def start(self, spec: BoxSpec) -> None:
        """Create what is missing (volume, sockets' folder, container) and start it. Any number of times."""

    async def freeze(self, session_id: UUID) -> None:
        """Pause every process of the container. Frozen or absent already is success."""

    async def thaw(self, session_id: UUID) -> None:
        """Let a paused container go on. Running or absent already is success."""

    async def remove(self, session_id: UUID) -> None:
        """Remove every container and socket of the session, running or not; keep its volume. Absent is success."""

    async def erase(self, session_id: UUID) -> None:
        """Remove the session's volume too: the workspace, the conversation and the journal. Absent is success."""

    async def kept(self) -> Sequence[UUID]:
        """Return the sessions whose volume exists."""

    async def log_tail(self, session_id: UUID, lines: int) -> tuple[str, ...]:
        """Return the last lines the runner printed; empty when there is no container."""

    async def journal(self, session_id: UUID) -> bytes:
        """Return the journal from the volume of a session whose container does not run; empty when there is none."""

    async def free_bytes(self) -> int | None:
        """Return the free disk where volumes are; None when that file system cannot be seen from here."""

    def control(self, session_id: UUID) -> Address:
        """Return where the runner's control socket is."""

    def public(self, session_id: UUID) -> Address:
        """Return where the runner's public socket is."""

    def changes(self) -> AsyncIterator[UUID]:
        """Yield sessions whose container may have changed. Ends when the engine's stream ends; may miss some."""

    async def close(self) -> None:
        """Release connections."""


class RelayBreak(Exception):  # noqa: N818 - an event of the relay, not a fault
    """The relay's connection ended. Attach again from the stored seq."""


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a message still being written: the frame's JSON text."""

    text: str


class Runners(Protocol):
    """What the manager says to a runner on its control socket. `at` comes from `Sandboxes.control`.

    Beside DependencyError these raise ConflictError, UnknownRequestError, AlreadyAnsweredError, SessionEndedError,
    TooLargeError, WorkspaceFullError and CapacityError (the queue is full), as the runner's refusal says.
    """

    async def health(self, at: Address) -> Health:
        """Return what the runner says of itself."""

    async def init(self, at: Address, init: Init) -> Health:
        """Tell a dormant runner who it is. The same generation twice changes nothing."""

    async def input(self, at: Address, request: InputRequest) -> InputAccepted:
        """Hand over a prompt; returns when it is journaled. The same id twice is one prompt."""

    async def interrupt(self, at: Address) -> None:
        """Stop the running turn, if any."""

    async def answer(self, at: Address, request_id: str, answer: PermissionAnswer) -> InputAccepted:
        """Answer a pending permission or question. The first answer wins."""

    async def set_model(self, at: Address, change: Change) -> None:
        """Change the model of the running conversation."""

    async def set_permission_mode(self, at: Address, change: Change) -> None:
        """Change the permission mode of the running conversation."""

    async def limit_workspace(self, at: Address, limit: WorkspaceLimit) -> None:
        """Change what the session's volume may hold. Any number of times."""

    async def quiet(self, at: Address, quiet: Quiet) -> None:
        """Send public clients away before a freeze, or take them again. ConflictError while the agent works."""

    async def stop(self, at: Address, stop: Stop) -> None:
        """Begin to end the agent; returns at once. Twice changes nothing."""

    def relay(self, at: Address, after: int) -> AsyncIterator[list[Output] | Delta]:
        """Yield what the runner journals after seq `after`: batches of consecutive output, and deltas.

        A batch holds what has arrived, at most 500 outputs or 4 MiB. Raises RelayBreak when the connection ends,
        FaultError when the numbers do not continue.
        """

    async def close(self) -> None:
        """Release connections."""


# --- the truth --------------------------------------------------------------------------------------------------


class Role(StrEnum):
    """What an API key may do."""

    ADMIN = "admin"
    CLIENT = "client"  # its own sessions only
    READONLY = "readonly"  # looks at every session


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A caller. The key itself is never stored, only its digest."""

    id: str
    name: str
    role: Role
    created_at: datetime


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
    metadata: Mapping[str, str] = field(default_factory=dict)


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
    reading: Reading = field(default_factory=Reading)  # what the session uses; empty when it did not answer


class Store(Protocol):
    """PostgreSQL: the truth. Every write is one transaction; a session's row is fenced by its `version`."""

    async def check(self) -> None:
        """Return when the database answers and its schema is the one this code needs."""

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

    async def save(self, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        """Write the record, its events and the output they come from; return it with the next version.

        Raises StaleError, having written nothing, when the row's version is not `session.version`.
        """

    async def unfinished(self) -> Sequence[UUID]:
        """Return the sessions that have not ended, oldest first: all that need a look."""

    async def count(self) -> int:
        """Return how many sessions there are at all."""

    async def list(self, query: ListQuery) -> tuple[Sequence[Session], int]:
        """Return a page and the number of sessions that match without paging."""

    async def stats(self, owner: str | None) -> Mapping[SessionStatus, int]:
        """Return how many sessions are in each state; zero for those with none."""

    async def totals(self, owner: str | None) -> Totals:
        """Return what the live sessions use together, of one owner or of all, by their records."""

    async def waiting_events(self) -> int:
        """Return how many events wait to be published."""

    async def slots_used(self) -> int:
        """Return how many sessions hold a slot: live and not hibernated."""

    async def output(self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = ()) -> Sequence[Output]:
        """Return stored output with a seq above `after`, in order."""

    async def events(
        self, session_id: UUID, after: int, limit: int, types: Sequence[str] = ()
    ) -> Sequence[StoredEvent]:
        """Return stored events with a seq above `after`, in order."""

    async def note(self, draft: EventDraft) -> None:
        """Record an event of the system itself; its session is the nil UUID."""

    async def probe(self, session_id: UUID, probe: Probe) -> None:
        """Keep a health check; the last 100 of a session stay."""

    async def probes(self, session_id: UUID) -> Sequence[Probe]:
        """Return the kept health checks, newest first."""

    async def forget(self, session_id: UUID) -> None:
        """Delete an ended session's record, output and events. Absent is success."""

    async def expired(self, ended_before: datetime) -> Sequence[UUID]:
        """Return sessions that ended before that moment."""

    async def signing_key(self) -> str:
        """Return the private key (PEM) that signs session tokens, made once for the installation."""

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        """Return the caller whose key has this SHA-256 digest, unless revoked."""

    async def add_key(self, key: ApiKey, digest: str) -> None:
        """Keep a new key's digest. The same digest twice changes nothing."""

    async def keys(self) -> Sequence[ApiKey]:
        """Return the keys that are not revoked."""

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key; False when there is none."""

    async def close(self) -> None:
        """Release connections."""


class Leases(Protocol):
    """Who does what when several managers share the sessions. Time is the database's, never a host's."""

    async def take(self, names: Sequence[str], seconds: float) -> frozenset[str]:
        """Take or renew leases for so long; return those that are ours now."""

    async def give(self, names: Sequence[str]) -> None:
        """Give leases back. Not ours is success."""

    async def elsewhere(self, name: str) -> bool:
        """Return whether another manager holds the lease now."""

    async def unfollowed(self) -> Sequence[UUID]:
        """Return awake sessions with a container whose runner no manager follows (lease `relay/{id}`)."""

    async def tidy(self) -> None:
        """Remove leases that expired long ago."""

    async def close(self) -> None:
        """Release connections."""


class Records(Protocol):
    """Records in Redis, for reads without SQL. Losing it loses nothing; a record never replaces a newer one."""

    async def get(self, session_id: UUID) -> Session | None:
        """Return the kept record; None when there is none, or none that can be read."""

    async def put(self, session: Session) -> None:
        """Keep a record unless a newer one is kept."""

    async def drop(self, session_id: UUID) -> None:
        """Forget a record. Absent is success."""

    async def close(self) -> None:
        """Release connections."""


class Outbox(Protocol):
    """Events on their way out, oldest first within a session. One holder at a time across all managers."""

    def hold(self) -> AsyncGenerator["HeldOutbox"]:
        """Wait for the lock, yield the outbox once, release it when closed (use `aclosing`)."""


class HeldOutbox(Protocol):
    """The outbox while its lock is held."""

    async def take(self, limit: int) -> Sequence[StoredEvent]:
        """Return the oldest unpublished events, in order within each session."""

    async def done(self, events: Sequence[StoredEvent]) -> None:
        """Mark them published."""

    async def again(self) -> int:
        """Mark every kept event unpublished (the bus lost its memory); return how many."""

    async def wait(self, seconds: float) -> None:
        """Return when something new may be there, at the latest after `seconds`."""


# --- live output, events, routes --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LiveLine:
    """Something to pass on to whoever follows a session now.

    `seq` is None for deltas and states; `text` is the frame's JSON.
    """

    session_id: UUID
    seq: int | None
    text: str


class LiveOutput(Protocol):
    """Redis: the hot tail of each session's output, and what is never stored. A cache: losing it loses nothing."""

    async def check(self) -> None:
        """Return when it answers."""

    async def append(self, session_id: UUID, outputs: Sequence[Output]) -> None:
        """Add output under its own seq. Seqs that are there already are skipped: any number of times."""

    async def tell(self, session_id: UUID, text: str) -> None:
        """Pass a delta or state frame to the readers of now; nobody listening is success."""

    async def tail(self, session_id: UUID, after: int, limit: int) -> Sequence[Output] | None:
        """Return the output after `after`; None when the hot tail does not reach back that far."""

    def watch(self, wanted: "WatchList") -> AsyncGenerator[LiveLine]:
        """Yield what happens in all watched sessions over one connection; close it (`aclosing`).

        Lines of a session come in order; numbers may be missing. Raises DependencyError when the connection breaks.
        """

    async def expire(self, session_id: UUID, seconds: int) -> None:
        """Let an ended session's keys go after a while."""

    async def forget(self, session_id: UUID) -> None:
        """Remove the session's keys now."""

    async def known(self) -> Sequence[UUID]:
        """Return the sessions that have keys here."""

    async def close(self) -> None:
        """Release connections."""


class WatchList(Protocol):
    """Which sessions to watch, and from which seq; changes while it is watched."""

    def wanted(self) -> Mapping[UUID, int]:
        """Return the newest seq already seen, by session."""

    async def changed(self) -> None:
        """Return when `wanted` has changed since this was last called."""


class Events(Protocol):
    """NATS JetStream: where events are published."""

    async def check(self) -> None:
        """Return when it answers and the stream exists."""

    async def connect(self) -> bool:
        """Make sure the stream exists; return whether it had to be made (so that nothing published before is there)."""

    async def publish(self, events: Sequence[StoredEvent]) -> None:
        """Publish in order; returns when all are acknowledged. The same event twice within two minutes is one."""

    async def close(self) -> None:
        """Release the connection."""


class Edge(Protocol):
    """Caddy, and the folder of routes it dials into."""

    async def check(self) -> None:
        """Return when Caddy answers."""

    async def program(self) -> bool:
        """Make Caddy's configuration the wanted one; return whether it had to be changed."""

    async def publish(self, session_id: UUID, to: Address, *, route: Route) -> None:
        """Lead the session's URL to `to`, atomically replacing what was there.

        A sleeping session's (`Route.MANAGER`) leads to whichever manager is there when somebody calls; `to` is then
        only what it would be with this one alone. RefusedError for an address that cannot be led to.
        """

    async def withdraw(self, session_id: UUID) -> None:
        """Remove the session's URL. Absent is success."""

    async def route(self, session_id: UUID) -> Route:
        """Return where the session's URL leads now."""

    async def routes(self) -> Sequence[UUID]:
        """Return every published session."""

    async def close(self) -> None:
        """Release connections."""


class Clock(Protocol):
    """Time, so that tests can own it."""

    def now(self) -> datetime:
        """Return this moment, in UTC."""
