"""Participants, comments, invites and the inbox in PostgreSQL."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from jelmore.drivers import sql
from jelmore.drivers.postgres_calls import Connection, Database, execute, fetch, fetch_row
from jelmore.drivers.postgres_rows import Row
from jelmore.ports.people import InboxEntry, InboxQuery, Invite, Participant, ParticipantRole
from jelmore.session.events import EventType
from jelmore.session.plain_text import to_json

UNREAD_KINDS: Final = ("input", "said", "message", "permission_requested", "question", "error")
"""The kinds of output that count as unread messages."""

_SQL: Final = sql.queries("people")


class PostgresPeople:
    """The `PeopleStore` port. `notified` are set after each event, for the outbox and the event log of this process."""

    def __init__(
        self, url: str, notified: Sequence[asyncio.Event] = (), *, connections: int = 3, timeout_s: float = 10
    ) -> None:
        self._notified = notified
        self._database = Database(url, connections=connections, timeout_s=timeout_s)

    async def participants(self, session_id: UUID) -> Sequence[Participant]:
        """Return the participants that were not removed."""
        return [_participant(row) for row in await self._database.rows(_SQL["participants"], session_id=session_id)]

    async def join(self, session_id: UUID, participant_id: str, name: str, role: ParticipantRole) -> Participant | None:
        """Add or rename a participant; see the port."""
        async with self._database.transaction() as connection:
            values = {"session_id": session_id, "id": participant_id, "name": name, "role": role.value}
            row = await fetch_row(connection, _SQL["join"], **values)
            if row is None:
                return None
            if row["added"]:
                await self._joined(connection, row)
        self._wake()
        return _participant(row)

    async def by_digest(self, digest: str) -> Participant | None:
        """Return the participant with this credential; see the port."""
        row = await self._database.row(_SQL["by_digest"], digest=digest)
        return _participant(row) if row else None

    async def remove(self, session_id: UUID, participant_id: str) -> bool:
        """Remove a participant; see the port."""
        async with self._database.transaction() as connection:
            row = await fetch_row(connection, _SQL["remove_participant"], session_id=session_id, id=participant_id)
            if row is None:
                return False
            await _left(connection, session_id, participant_id)
        self._wake()
        return True

    async def mark_read(
        self, session_id: UUID, participant_id: str, output_seq: int, event_seq: int
    ) -> Participant | None:
        """Move read marks forward; see the port."""
        async with self._database.transaction() as connection:
            row = await fetch_row(
                connection,
                _SQL["mark_read"],
                session_id=session_id,
                id=participant_id,
                output_seq=output_seq,
                event_seq=event_seq,
                comment_type=EventType.COMMENT_POSTED.value,
            )
            if row is None:
                return None
            if row["moved"]:
                marks = {"output_seq": row["read_output_seq"], "event_seq": row["read_event_seq"]}
                payload = {"participant": participant_id, **marks}
                await _add_event(connection, session_id, EventType.SESSION_READ, payload)
        self._wake()
        return _participant(row)

    async def add_event(self, session_id: UUID, event_type: str, payload: Mapping[str, Any]) -> int | None:
        """Record an event; see the port."""
        values = {"session_id": session_id, "type": event_type, "payload": to_json(dict(payload))}
        row = await self._database.row(_SQL["add_event"], **values)
        self._wake()
        return None if row is None else int(row["seq"])

    async def add_invite(
        self, invite: Invite, digest: str, *, ttl_s: float, access_ttl_s: float | None
    ) -> Invite | None:
        """Store an invite; see the port."""
        row = await self._database.row(
            _SQL["add_invite"],
            id=invite.id,
            session_id=invite.session_id,
            digest=digest,
            role=invite.role.value,
            created_by=invite.created_by,
            ttl_s=ttl_s,
            access_ttl_s=access_ttl_s,
            uses_left=invite.uses_left,
        )
        return _invite(row) if row else None

    async def invites(self, session_id: UUID) -> Sequence[Invite]:
        """Return the invites that can still be used."""
        return [_invite(row) for row in await self._database.rows(_SQL["invites"], session_id=session_id)]

    async def revoke_invite(self, session_id: UUID, invite_id: UUID, *, with_people: bool) -> bool:
        """Revoke an invite; see the port."""
        async with self._database.transaction() as connection:
            if await fetch_row(connection, _SQL["revoke_invite"], id=invite_id, session_id=session_id) is None:
                return False
            if with_people:
                values = {"session_id": session_id, "invite_id": invite_id}
                for row in await fetch(connection, _SQL["revoke_invited"], **values):
                    await _left(connection, session_id, row["id"])
        self._wake()
        return True

    async def accept(self, invite_digest: str, participant_id: str, name: str, digest: str) -> Participant | None:
        """Use an invite; see the port."""
        async with self._database.transaction() as connection:
            invite = await fetch_row(connection, _SQL["use_invite"], digest=invite_digest)
            if invite is None:
                return None
            row = await fetch_row(
                connection,
                _SQL["add_invited"],
                session_id=invite["session_id"],
                id=participant_id,
                name=name,
                role=invite["role"],
                digest=digest,
                invite_id=invite["id"],
                expires_at=invite["access_expires_at"],
            )
            if row is None:
                return None
            await self._joined(connection, row)
        self._wake()
        return _participant(row)

    async def inbox(self, query: InboxQuery) -> Sequence[InboxEntry]:
        """Return the inbox; see the port."""
        rows = await self._database.rows(
            _SQL["inbox"],
            owner=query.owner,
            user_id=query.user_id,
            participant_id=query.participant_id,
            limit=query.limit,
            unread_kinds=list(UNREAD_KINDS),
            comment_type=EventType.COMMENT_POSTED.value,
        )
        return [_entry(row) for row in rows]

    async def close(self) -> None:
        """Close the connections."""
        await self._database.close()

    async def _joined(self, connection: Connection, row: Row) -> None:
        payload = {"participant": row["id"], "name": row["name"], "role": row["role"]}
        await _add_event(connection, row["session_id"], EventType.PARTICIPANT_JOINED, payload)

    def _wake(self) -> None:
        for event in self._notified:
            event.set()


async def _left(connection: Connection, session_id: UUID, participant_id: str) -> None:
    await _add_event(connection, session_id, EventType.PARTICIPANT_LEFT, {"participant": participant_id})


async def _add_event(
    connection: Connection, session_id: UUID, event_type: EventType, payload: Mapping[str, Any]
) -> None:
    values = {"session_id": session_id, "type": event_type.value, "payload": to_json(dict(payload))}
    await execute(connection, _SQL["add_event"], **values)


def _participant(row: Row) -> Participant:
    plain = ("session_id", "id", "name", "read_output_seq", "read_event_seq", "created_at", "seen_at", "expires_at")
    return Participant(role=ParticipantRole(row["role"]), **{name: row[name] for name in plain})


def _invite(row: Row) -> Invite:
    plain = ("id", "session_id", "created_by", "created_at", "expires_at", "access_expires_at", "uses_left")
    return Invite(role=ParticipantRole(row["role"]), **{name: row[name] for name in plain})


def _entry(row: Row) -> InboxEntry:
    same = [name for name in InboxEntry.__slots__ if name not in {"session_id", "query"}]
    return InboxEntry(session_id=row["id"], query=row["query_start"], **{name: row[name] for name in same})
