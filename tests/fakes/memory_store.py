"""The `Store` and `Outbox` ports in memory."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import accumulate
from uuid import UUID

from jelmore.ports import ApiKey, Idempotency, ListQuery, Page, Probe, StoredEvent
from jelmore.ports.outbox import ANY_BYTES
from jelmore.ports.store import MAX_COUNTED
from jelmore.session.errors import (
    CapacityError,
    DependencyError,
    IdempotencyMismatchError,
    StaleError,
    UnknownSessionError,
)
from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.plain_text import clean_text, to_json
from jelmore.session.pool import Member, MemberState, Shape
from jelmore.session.profiles import DEFAULT_NAME
from jelmore.session.record import Session, started_stage
from jelmore.session.resources import Lags, Totals
from jelmore.session.search import searchable
from jelmore.session.states import Presence, SessionStatus
from jelmore.session.storable import storable
from jelmore.session.warm_start import WarmStart
from tests.fakes.memory_list import is_after, matches, place, summary

SYSTEM = UUID(int=0)
_WORD = re.compile(r"\w+")


class MemoryStore:
    """Keeps everything in dictionaries. `away` makes every call fail as a stopped server would."""

    def __init__(self) -> None:
        self.wrote = asyncio.Event()
        self.arrived = asyncio.Event()
        self.away = False
        self.sessions: dict[UUID, Session] = {}
        self.outputs: dict[UUID, dict[int, Output]] = {}
        self.kept_events: dict[UUID, list[StoredEvent]] = {}
        self.outbox: list[StoredEvent] = []
        self.refilled: dict[str, tuple[UUID, int]] = {}
        self.pool: dict[UUID, Member] = {}  # the oldest first
        self.claims: dict[str, int] = {}
        self._probes: dict[UUID, list[Probe]] = {}
        self._requests: dict[tuple[str, str], tuple[str, UUID]] = {}
        self._keys: dict[str, ApiKey] = {}
        self._revoked: dict[str, datetime] = {}
        self._signing_key = ""

    def _here(self) -> None:
        if self.away:
            raise DependencyError("postgres", "away")

    async def check(self) -> None:
        self._here()

    async def create(
        self,
        session: Session,
        drafts: Sequence[EventDraft],
        *,
        most_live: int,
        idempotency: Idempotency | None,
        warm: Shape | None = None,
    ) -> tuple[Session, bool]:
        self._here()
        session = storable(session)
        known = await self.replayed(session.owner, idempotency) if idempotency else None
        if known is not None:
            return known, False
        self._refuse_above(most_live, self._slots() + 1)
        if warm is not None and (claimed := self._claim(warm, session.spec.profile)) is not None:
            session = replace(session, id=claimed, warm_start=WarmStart.RUNNER)
        if idempotency:
            self._requests[session.owner, idempotency.key] = idempotency.request_digest, session.id
        return self._write(replace(session, event_seq=0), drafts), True

    def _claim(self, shape: Shape, profile: str | None) -> UUID | None:
        """Take the oldest ready member of a shape, one of the profile before others."""
        fitting = [each for each in self.pool.values() if each.state is MemberState.READY and each.shape == shape]
        if not fitting:
            self._count(WarmStart.NONE)
            return None
        return self.pool.pop(min(fitting, key=lambda each: each.profile != (profile or DEFAULT_NAME)).id).id

    def _count(self, stage: WarmStart) -> None:
        self.claims[stage.value] = self.claims.get(stage.value, 0) + 1

    async def replayed(self, owner: str, idempotency: Idempotency) -> Session | None:
        self._here()
        known = self._requests.get((owner, idempotency.key))
        if known is None:
            return None
        if known[0] != idempotency.request_digest:
            raise IdempotencyMismatchError("used with another request")
        return self.sessions[known[1]]

    async def revive(self, session: Session, drafts: Sequence[EventDraft], *, most_live: int) -> Session:
        self._here()
        session = storable(session)
        self._fence(session)
        self._refuse_above(most_live, self._slots(without=session.id) + 1)
        return self._write(session, drafts)

    async def load(self, session_id: UUID) -> Session:
        self._here()
        if session_id not in self.sessions:
            raise UnknownSessionError(session_id)
        return self.sessions[session_id]

    async def load_many(self, session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        self._here()
        return {session_id: self.sessions[session_id] for session_id in session_ids if session_id in self.sessions}

    async def save(self, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        self._here()
        session = storable(session)
        self._fence(session)
        kept = self.outputs.setdefault(session.id, {})
        for output in outputs:
            text = clean_text(output.text)
            kept.setdefault(output.seq, replace(output, text=text))
        if (stage := started_stage(session, drafts)) is not None:
            self._count(stage)
        return self._write(session, drafts)

    def _fence(self, session: Session) -> None:
        current = self.sessions.get(session.id)
        if current is None or current.version != session.version:
            raise StaleError(f"session {session.id}: version {session.version} is not the newest")

    def _write(self, session: Session, drafts: Sequence[EventDraft]) -> Session:
        known = self.sessions.get(session.id)
        before = known.event_seq if known else 0
        session = replace(session, version=session.version + 1, event_seq=before + len(drafts))
        self.sessions[session.id] = session
        for seq, draft in enumerate(drafts, before + 1):
            self._notify(session.id, seq, draft, session.version)
        return session

    def _notify(self, session_id: UUID, seq: int, draft: EventDraft, version: int) -> None:
        payload = json.loads(to_json(draft.payload))
        at = datetime.now(UTC)
        event = StoredEvent(session_id, seq, draft.type.value, at, payload, draft.output_seq, version)
        self.kept_events.setdefault(session_id, []).append(event)
        self.outbox.append(event)
        self.wrote.set()
        self.arrived.set()

    def _slots(self, without: UUID | None = None) -> int:
        return sum(
            not session.ended and session.presence is not Presence.HIBERNATED and session.id != without
            for session in self.sessions.values()
        )

    def _refuse_above(self, most_live: int, holding: int) -> None:
        if holding > most_live:
            raise CapacityError(f"all {most_live} sessions are in use")

    async def unfinished(self) -> Sequence[UUID]:
        self._here()
        return sorted(one.id for one in self.sessions.values() if not one.ended)

    async def slots_used(self) -> int:
        self._here()
        return self._slots()

    async def count(self) -> int:
        self._here()
        return len(self.sessions)

    async def list(self, query: ListQuery) -> tuple[Page[Session], int]:
        self._here()
        found = [one for one in self.sessions.values() if matches(one, query) and self._says(one, query.words)]
        found.sort(key=lambda one: place(one, query.sort), reverse=query.sort.value.startswith("-"))
        page = [one for one in found if query.after is None or is_after(place(one, query.sort), query)]
        shown = page[: query.limit]
        total = min(len(found), MAX_COUNTED) if query.words else len(found)
        return Page(map(summary, shown), more=len(shown) == query.limit), total

    def _says(self, session: Session, words: str | None) -> bool:
        if words is None:
            return True
        texts = [session.title, *map(searchable, self.outputs.get(session.id, {}).values())]
        wanted = set(_WORD.findall(words.lower()))
        return any(wanted <= set(_WORD.findall(text.lower())) for text in texts if text)

    async def stats(self, owner: str | None) -> Mapping[SessionStatus, int]:
        self._here()
        found = [session.status for session in self.sessions.values() if owner in {None, session.owner}]
        return {status: found.count(status) for status in SessionStatus}

    async def under_way(self, limit: int) -> tuple[Sequence[UUID], int]:
        self._here()
        busy = {SessionStatus.ACTIVE, SessionStatus.INITIALIZING}
        live = [one for one in self.sessions.values() if not one.ended and one.presence is not Presence.HIBERNATED]
        found = [one for one in live if one.status in busy or one.pending_inputs]
        found.sort(key=lambda one: (one.created_at, one.id), reverse=True)
        return [one.id for one in found[:limit]], len(found)

    async def totals(self, owner: str | None) -> Totals:
        self._here()
        live = [one for one in self.sessions.values() if not one.ended and owner in {None, one.owner}]
        awake = [one.resources.reading for one in live if one.presence is not Presence.HIBERNATED]
        return Totals(
            memory_bytes=sum(reading.memory_bytes or 0 for reading in awake),
            pids=sum(reading.pids or 0 for reading in awake),
            workspace_bytes=sum(one.resources.reading.workspace_bytes or 0 for one in live),
        )

    async def waiting_events(self) -> int:
        self._here()
        return len(self.outbox)

    async def lags(self) -> Lags:
        self._here()
        return Lags()

    async def output(
        self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[Output]:
        self._here()
        kept = sorted(self.outputs.get(session_id, {}).items())
        found = [one for seq, one in kept if seq > after and (not kinds or one.kind in kinds)]
        return _page(found, limit, max_bytes, lambda one: one.text)

    async def events(
        self, session_id: UUID, after: int, limit: int, types: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[StoredEvent]:
        self._here()
        kept = self.kept_events.get(session_id, [])
        found = [one for one in kept if one.seq > after and (not types or one.type in types)]
        return _page(found, limit, max_bytes, lambda one: json.dumps(one.payload))

    async def note(self, draft: EventDraft) -> None:
        self._here()
        self._notify(SYSTEM, len(self.kept_events.get(SYSTEM, [])) + 1, draft, 0)

    async def probe(self, session_id: UUID, probe: Probe) -> None:
        self._here()
        if session_id in self.sessions:
            self._probes.setdefault(session_id, []).insert(0, probe)
            del self._probes[session_id][100:]

    async def probes(self, session_id: UUID) -> Sequence[Probe]:
        self._here()
        return tuple(self._probes.get(session_id, ()))

    async def forget(self, session_id: UUID) -> None:
        self._here()
        session = self.sessions.get(session_id)
        if session is None:
            return
        if not session.ended or any(event.session_id == session_id for event in self.outbox):
            raise StaleError(f"session {session_id} cannot be forgotten now")
        for kept in (self.sessions, self.outputs, self.kept_events, self._probes):
            kept.pop(session_id, None)
        self._requests = {key: value for key, value in self._requests.items() if value[1] != session_id}

    async def expired(self, ended_before: datetime) -> Sequence[UUID]:
        self._here()
        ended = [(one.ended_at, one.id) for one in self.sessions.values() if one.ended_at]
        return [session_id for at, session_id in sorted(ended) if at < ended_before]

    async def signing_key(self, new: str) -> str:
        self._here()
        self._signing_key = self._signing_key or new
        return self._signing_key

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        self._here()
        key = self._keys.get(digest)
        return key if key and key.id not in self._revoked else None

    async def key_by_id(self, key_id: str) -> ApiKey | None:
        return next((key for key in await self.keys() if key.id == key_id), None)

    async def keys_by_id(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        return {key.id: key for key in await self.keys() if key.id in key_ids}

    async def add_key(self, key: ApiKey, digest: str) -> None:
        self._here()
        self._keys.setdefault(digest, key)

    async def keys(self) -> Sequence[ApiKey]:
        self._here()
        left = [key for key in self._keys.values() if key.id not in self._revoked]
        return sorted(left, key=lambda key: (key.created_at, key.id))

    async def revoke_key(self, key_id: str) -> bool:
        known = key_id in {key.id for key in await self.keys()}
        self._revoked.setdefault(key_id, datetime.now(UTC))
        return known

    async def rotated_tokens(self, since: datetime) -> Mapping[UUID, int]:
        self._here()
        rotated = [one for one in self.sessions.values() if one.tokens_rotated_at and one.tokens_rotated_at >= since]
        return {one.id: one.token_epoch for one in rotated}

    async def revoked_keys(self, since: datetime) -> Sequence[str]:
        self._here()
        return sorted(key_id for key_id, at in self._revoked.items() if at >= since)

    async def close(self) -> None:
        pass


def _page[T](found: Sequence[T], limit: int, max_bytes: int | None, text: Callable[[T], str]) -> Page[T]:
    sums = accumulate(len(text(one).encode()) for one in found)
    fits = [place == 0 or max_bytes is None or size <= max_bytes for place, size in enumerate(sums)]
    count = min(limit, sum(fits))
    return Page(found[:count], more=count >= limit or count < len(found))


class MemoryOutbox:
    """The outbox of a MemoryStore; a lock of this process stands for the database's."""

    def __init__(self, store: MemoryStore, lock: asyncio.Lock | None = None) -> None:
        self._store = store
        self._lock = lock or asyncio.Lock()

    async def hold(self) -> AsyncGenerator["HeldMemoryOutbox"]:
        async with self._lock:
            yield HeldMemoryOutbox(self._store)


def _fitting(events: Sequence[StoredEvent], max_bytes: int) -> Sequence[StoredEvent]:
    taken: list[StoredEvent] = []
    for event in events:
        max_bytes -= len(json.dumps(dict(event.payload)))
        if taken and max_bytes < 0:
            break
        taken.append(event)
    return taken


class HeldMemoryOutbox:
    """The outbox while it is held."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def take(self, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        self._store.wrote.clear()
        return _fitting(self._store.outbox[:limit], max_bytes)

    async def done(self, events: Sequence[StoredEvent]) -> None:
        published = {(event.session_id, event.seq) for event in events}
        self._store.outbox = [one for one in self._store.outbox if (one.session_id, one.seq) not in published]

    async def kept(self, stream: str, limit: int, *, max_bytes: int = ANY_BYTES) -> Sequence[StoredEvent]:
        begin = self._store.refilled.get(stream, (UUID(int=0), 0))
        waiting = {(event.session_id, event.seq) for event in self._store.outbox}
        kept = [event for events in self._store.kept_events.values() for event in events]
        rest = [one for one in kept if (one.session_id, one.seq) > begin and (one.session_id, one.seq) not in waiting]
        return _fitting(sorted(rest, key=lambda event: (event.session_id, event.seq))[:limit], max_bytes)

    async def kept_until(self, stream: str, last: StoredEvent) -> None:
        self._store.refilled = {stream: (last.session_id, last.seq)}

    async def wait(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._store.wrote.wait()
        except TimeoutError:
            pass
