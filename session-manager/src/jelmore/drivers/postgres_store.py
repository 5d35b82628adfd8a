"""Sessions in PostgreSQL. Each write of a session is one statement, so its row, its events and its output agree."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.migrations import check_schema
from jelmore.drivers.postgres_calls import Connection, Database, execute, fetch_row
from jelmore.drivers.postgres_list import has_more, read_list
from jelmore.drivers.postgres_rows import (
    Row,
    as_stored,
    event_of,
    key_of,
    output_of,
    output_values,
    probe_of,
    session_of,
    session_values,
    spec_values,
)
from jelmore.ports import ApiKey, Idempotency, ListQuery, Page, Probe, StoredEvent
from jelmore.session.errors import (
    CapacityError,
    FaultError,
    IdempotencyMismatchError,
    InvalidRequestError,
    StaleError,
    UnknownSessionError,
)
from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.plain_text import clean_text, storable_text, to_json
from jelmore.session.pool import Shape
from jelmore.session.profiles import DEFAULT_NAME
from jelmore.session.record import Session, started_stage
from jelmore.session.resources import Lags, Totals
from jelmore.session.states import SessionStatus
from jelmore.session.storable import is_stored, storable
from jelmore.session.warm_start import WarmStart

SYSTEM: Final = UUID(int=0)
"""The session id of events that belong to no session."""

LARGE_CHARACTERS: Final = 256 * 1024
LARGE_AT_ONCE: Final = 2
"""How many large batches are written at once, so that sessions with much output leave connections to the others."""

_SESSIONS = sql.queries("sessions")
_HISTORY = sql.queries("history")
_KEYS = sql.queries("keys")


class PostgresStore:
    """The `Store` port. Sets `wrote` and `arrived` after each write of events, for this process's outbox and log."""

    def __init__(self, url: str, *, connections: int = 10, timeout_s: float = 10) -> None:
        self.wrote = asyncio.Event()
        self.arrived = asyncio.Event()
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def check(self) -> None:
        """Return when the database answers and its schema is new enough.

        Raises RefusedError naming `make db-migrate`, DependencyError.
        """
        async with self._database.connection() as connection:
            await check_schema(connection)

    # --- sessions

    async def create(
        self,
        session: Session,
        drafts: Sequence[EventDraft],
        *,
        most_live: int,
        idempotency: Idempotency | None,
        warm: Shape | None = None,
    ) -> tuple[Session, bool]:
        """Insert a session and claim a slot; see the port."""
        session = storable(session)
        _check_key(idempotency)
        async with self._database.transaction(_SESSIONS["lock_slots"]) as connection:
            if idempotency:
                known = await self._known(connection, session.owner, idempotency)
                if known:
                    return known, False
            values = {**session_values(session, drafts), **spec_values(session), **_claim_values(session, warm)}
            row = await fetch_row(connection, _SESSIONS["create"], most_live=most_live, **values)
            if row is None or row["version"] is None:
                raise CapacityError(f"all {most_live} sessions are in use")
            if row["claimed"]:
                session = replace(session, id=UUID(str(row["id"])), warm_start=WarmStart.RUNNER)
            if idempotency:
                known_as = {"owner": session.owner, "session_id": session.id, **asdict(idempotency)}
                await execute(connection, _SESSIONS["remember_request"], **known_as)
        return self._written(session, row, drafts), True

    async def replayed(self, owner: str, idempotency: Idempotency) -> Session | None:
        """Return the session that a key created; see the port."""
        _check_key(idempotency)
        async with self._database.connection() as connection:
            return await self._known(connection, owner, idempotency)

    async def revive(self, session: Session, drafts: Sequence[EventDraft], *, most_live: int) -> Session:
        """Save a session that needs a slot again; see the port."""
        session = storable(session)
        async with self._database.transaction(_SESSIONS["lock_slots"]) as connection:
            row = await _save(connection, session, drafts, ())
            # A stale version is reported first, whether or not a slot is free.
            if row and await connection.fetchval(_SESSIONS["count_slots"]) > most_live:
                raise CapacityError(f"all {most_live} sessions are in use")
        return self._written(session, row, drafts)

    async def save(self, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        """Write the record, its events and its output; see the port."""
        session = storable(session)
        is_large = sum(len(output.text) for output in outputs) > LARGE_CHARACTERS
        async with self._large if is_large else nullcontext():
            if is_stored(session):
                async with self._database.connection() as connection:
                    row = await _save(connection, session, drafts, outputs)
            else:
                async with self._database.transaction() as connection:
                    row = await _save(connection, session, drafts, outputs)
        return self._written(session, row, drafts)

    def _written(self, session: Session, row: Row | None, drafts: Sequence[EventDraft]) -> Session:
        if row is None:
            raise StaleError(f"session {session.id}: version {session.version} is not the newest")
        if drafts:
            self._wake()
        return as_stored(session, row["version"], row["event_seq"])

    def _wake(self) -> None:
        self.wrote.set()
        self.arrived.set()

    async def _known(self, connection: Connection, owner: str, idempotency: Idempotency) -> Session | None:
        row = await fetch_row(connection, _SESSIONS["known_request"], owner=owner, key=idempotency.key)
        if row is None:
            return None
        if row["request_digest"] != idempotency.request_digest:
            raise IdempotencyMismatchError("this Idempotency-Key was used with another request")
        found = await fetch_row(connection, _SESSIONS["load"], id=row["session_id"])
        return session_of(found) if found else None

    async def load(self, session_id: UUID) -> Session:
        """Return the session. Raises UnknownSessionError."""
        row = await self._database.row(_SESSIONS["load"], id=session_id)
        if row is None:
            raise UnknownSessionError(session_id)
        return session_of(row)

    async def load_many(self, session_ids: Sequence[UUID]) -> Mapping[UUID, Session]:
        """Return the sessions that exist, by id."""
        rows = await self._database.rows(_SESSIONS["load_many"], ids=list(session_ids)) if session_ids else []
        return {row["id"]: session_of(row) for row in rows}

    async def unfinished(self) -> Sequence[UUID]:
        """Return the live sessions, which need reconciling, oldest first."""
        return [row["id"] for row in await self._database.rows(_SESSIONS["unfinished"])]

    async def count(self) -> int:
        """Return how many sessions exist, in any state."""
        return int(await self._value(_SESSIONS["count"]))

    async def list(self, query: ListQuery) -> tuple[Page[Session], int]:
        """Return a page of summaries and the number of sessions that match on all pages; see the port."""
        async with self._database.transaction() as connection:
            return await read_list(connection, query)

    async def stats(self, owner: str | None) -> Mapping[SessionStatus, int]:
        """Return how many sessions are in each state."""
        rows = await self._database.rows(_SESSIONS["stats"], owner=owner)
        found = {row["status"]: row["sessions"] for row in rows}
        return {status: found.get(status.value, 0) for status in SessionStatus}

    async def under_way(self, limit: int) -> tuple[Sequence[UUID], int]:
        """Return sessions with a turn that runs or is about to begin, and how many there are."""
        rows = await self._database.rows(_SESSIONS["under_way"], limit=limit)
        return [row["id"] for row in rows], rows[0]["total"] if rows else 0

    async def totals(self, owner: str | None) -> Totals:
        """Return the total usage of the live sessions."""
        row = await self._database.row(_SESSIONS["totals"], owner=owner)
        return Totals(row["memory_bytes"], row["pids"], row["workspace_bytes"]) if row else Totals()

    async def waiting_events(self) -> int:
        """Return how many events wait to be published."""
        return int(await self._value(_SESSIONS["waiting_events"]))

    async def lags(self) -> Lags:
        """Return how long the oldest of what has to be done waits."""
        row = await self._database.row(_SESSIONS["lags"])
        assert row is not None  # noqa: S101 - it selects no rows of a table
        return Lags(*(max(0.0, round(row[name], 3)) for name in ("outbox_s", "event_log_s", "webhooks_s")))

    async def forget(self, session_id: UUID) -> None:
        """Delete an ended session. Raises StaleError while it is live or an event of it is not published yet."""
        async with self._database.transaction() as connection:
            row = await fetch_row(connection, _SESSIONS["lock_session"], id=session_id)
            if row is None:
                return
            if row["live"] or row["unpublished"]:
                why = "is live" if row["live"] else "has events that are not published yet"
                raise StaleError(f"session {session_id} {why}: it cannot be forgotten now")
            await execute(connection, _SESSIONS["forget"], id=session_id)

    async def expired(self, ended_before: datetime) -> Sequence[UUID]:
        """Return sessions that ended before that moment, longest ago first."""
        return [row["id"] for row in await self._database.rows(_SESSIONS["expired"], ended_before=ended_before)]

    async def slots_used(self) -> int:
        """Return how many sessions hold a slot."""
        return int(await self._value(_SESSIONS["count_slots"]))

    # --- output and events

    async def output(
        self, session_id: UUID, after: int, limit: int, kinds: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[Output]:
        """Return stored output above a seq, in order; see the port."""
        page = {"session_id": session_id, "after": after, "limit": limit, "max_bytes": max_bytes}
        if tuple(kinds) == ("input",):
            rows = await self._database.rows(_HISTORY["inputs"], **page)
        else:
            rows = await self._database.rows(_HISTORY["output"], kinds=list(kinds), **page)
        return Page((output_of(row) for row in rows), more=has_more(rows, limit))

    async def events(
        self, session_id: UUID, after: int, limit: int, types: Sequence[str] = (), *, max_bytes: int | None = None
    ) -> Page[StoredEvent]:
        """Return stored events above a seq, in order; see the port."""
        page = {"after": after, "limit": limit, "max_bytes": max_bytes}
        rows = await self._database.rows(_HISTORY["events"], session_id=session_id, types=list(types), **page)
        return Page((event_of(row) for row in rows), more=has_more(rows, limit))

    async def note(self, draft: EventDraft) -> None:
        """Record a system event, which belongs to no session."""
        values = {"type": draft.type.value, "payload": to_json(draft.payload), "output_seq": draft.output_seq}
        await self._database.rows(_HISTORY["note"], session_id=SYSTEM, **values)
        self._wake()

    async def probe(self, session_id: UUID, probe: Probe) -> None:
        """Store a health check. One of an unknown session is dropped."""
        texts = {"message": clean_text(probe.message), "reading": to_json(asdict(probe.reading))}
        values = {"at": probe.at, "healthy": probe.healthy, "latency_ms": probe.latency_ms, **texts}
        await self._database.rows(_HISTORY["probe"], session_id=session_id, **values)

    async def probes(self, session_id: UUID) -> Sequence[Probe]:
        """Return the stored health checks, newest first."""
        return [probe_of(row) for row in await self._database.rows(_HISTORY["probes"], session_id=session_id)]

    # --- keys

    async def signing_key(self, new: str) -> str:
        """Return the installation's private signing key. The first call of the first manager stores `new`."""
        row = await self._database.row(_KEYS["signing_key"])
        if row is None:
            await self._database.rows(_KEYS["keep_signing_key"], private_key=new)
            row = await self._database.row(_KEYS["signing_key"])
        if row is None:
            raise FaultError("postgres: the signing key vanished")
        return str(row["private_key"])

    async def key_by_digest(self, digest: str) -> ApiKey | None:
        """Return the key with this digest, None when it is unknown or revoked."""
        row = await self._database.row(_KEYS["key_by_digest"], digest=digest)
        return key_of(row) if row else None

    async def key_by_id(self, key_id: str) -> ApiKey | None:
        """Return the key with this id, None when it is unknown or revoked."""
        return (await self.keys_by_id([key_id])).get(key_id)

    async def keys_by_id(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        """Return the keys with these ids by their ids, without those that are unknown or revoked."""
        rows = await self._database.rows(_KEYS["keys_by_id"], ids=list(key_ids))
        return {row["id"]: key_of(row) for row in rows}

    async def add_key(self, key: ApiKey, digest: str) -> None:
        """Store a new key's digest. A known digest changes nothing, even when it is revoked. May run twice."""
        if not storable_text(key.name):
            raise InvalidRequestError("name: may not contain NUL or half a surrogate pair")
        values = {"id": key.id, "name": key.name, "role": key.role.value, "created_at": key.created_at}
        await self._database.rows(_KEYS["add_key"], digest=digest, **values)

    async def keys(self) -> Sequence[ApiKey]:
        """Return the keys that are not revoked, oldest first."""
        return [key_of(row) for row in await self._database.rows(_KEYS["keys"])]

    async def revoke_key(self, key_id: str) -> bool:
        """Revoke a key. Return False when there is none."""
        return storable_text(key_id) and await self._database.row(_KEYS["revoke_key"], id=key_id) is not None

    async def revoked_keys(self, since: datetime) -> Sequence[str]:
        """Return the ids of the keys revoked at or after `since`, in order."""
        return [row["id"] for row in await self._database.rows(_KEYS["revoked_keys"], since=since)]

    async def rotated_tokens(self, since: datetime) -> Mapping[UUID, int]:
        """Return the token epochs of the sessions whose tokens were rotated at or after `since`."""
        found = await self._database.rows(_SESSIONS["rotated_tokens"], since=since)
        return {row["id"]: row["token_epoch"] for row in found}

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def _value(self, query: str) -> Any:
        row = await self._database.row(query)
        return row[0] if row else None


async def _save(
    connection: Connection, session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output]
) -> Row | None:
    """Write the state, and in the same transaction the spec if it changed. Return None for a stale version."""
    stage = started_stage(session, drafts)
    counted = {"started_stage": None if stage is None else stage.value}
    values = {**session_values(session, drafts), **output_values(outputs), **counted}
    row = await fetch_row(connection, _SESSIONS["save"], **values)
    if row is not None and not is_stored(session):
        if session.stored is None:
            raise FaultError(f"session {session.id}: what a list shows lacks fields, and must not be saved")
        await execute(connection, _SESSIONS["save_spec"], **spec_values(session))
    return row


def _check_key(idempotency: Idempotency | None) -> None:
    if idempotency and not storable_text(idempotency.key):
        raise InvalidRequestError("Idempotency-Key: may not contain NUL or half a surrogate pair")


def _claim_values(session: Session, warm: Shape | None) -> dict[str, object]:
    """Return the parameters of `create` that say which member of the warm pool the session may get."""
    shape = asdict(warm or Shape("", 0, 0, 0))
    return {"claims": warm is not None, **shape, "profile": session.spec.profile or DEFAULT_NAME}
