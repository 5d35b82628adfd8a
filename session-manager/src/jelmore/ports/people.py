"""People around sessions: participants, what they have read, comments, invites and the inbox."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol
from uuid import UUID


class ParticipantRole(StrEnum):
    """What a participant may do in the session."""

    OWNER = "owner"  # holds an API key that sees the session
    EDITOR = "editor"  # may prompt, interrupt and answer
    APPROVER = "approver"  # may read, comment and answer what the session waits for
    VIEWER = "viewer"  # may read and comment


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A person of a session, with the newest output and event that they have read."""

    session_id: UUID
    id: str
    name: str
    role: ParticipantRole
    read_output_seq: int
    read_event_seq: int
    created_at: datetime
    seen_at: datetime
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invite:
    """An invite to a session. Who accepts it has access until `access_expires_at` (None: until removed)."""

    id: UUID
    session_id: UUID
    role: ParticipantRole
    created_by: str
    created_at: datetime
    expires_at: datetime
    access_expires_at: datetime | None
    uses_left: int


@dataclass(frozen=True, slots=True, kw_only=True)
class InboxEntry:
    """A session in an inbox. Unread counts stop at 100."""

    session_id: UUID
    owner: str
    user_id: str | None
    status: str
    waiting_for: str | None
    waiting_for_me: bool
    title: str | None
    query: str | None
    created_at: datetime
    last_activity_at: datetime
    ended_at: datetime | None
    output_seq: int
    event_seq: int
    read_output_seq: int
    read_event_seq: int
    unread_messages: int
    unread_comments: int


@dataclass(frozen=True, slots=True)
class InboxQuery:
    """Whose inbox: sessions of `owner` (None: all), of `user_id` or joined by the participant, if a user is named."""

    participant_id: str
    owner: str | None
    user_id: str | None
    limit: int


class PeopleStore(Protocol):
    """Participants, invites and the inbox, in PostgreSQL."""

    async def participants(self, session_id: UUID) -> Sequence[Participant]:
        """Return the participants that were not removed."""

    async def join(self, session_id: UUID, participant_id: str, name: str, role: ParticipantRole) -> Participant | None:
        """Add a participant and record it as an event, or rename it. May run twice.

        None when there is no such session, or the participant was removed from it.
        """

    async def by_digest(self, digest: str) -> Participant | None:
        """Return the participant with this credential; None when it is unknown, expired or revoked."""

    async def remove(self, session_id: UUID, participant_id: str) -> bool:
        """Remove a participant; return False when there is none."""

    async def mark_read(
        self, session_id: UUID, participant_id: str, output_seq: int, event_seq: int
    ) -> Participant | None:
        """Move read marks forward; an event records it if they moved. None without such a participant."""

    async def add_event(self, session_id: UUID, event_type: str, payload: Mapping[str, Any]) -> int | None:
        """Record an event of a session; return its seq, None without the session. Each call records another one."""

    async def add_invite(
        self, invite: Invite, digest: str, *, ttl_s: float, access_ttl_s: float | None
    ) -> Invite | None:
        """Store an invite; return it as stored, None without the session."""

    async def invites(self, session_id: UUID) -> Sequence[Invite]:
        """Return the invites that can still be used."""

    async def revoke_invite(self, session_id: UUID, invite_id: UUID, *, with_people: bool) -> bool:
        """Revoke an invite, and remove those who accepted it if `with_people`; return False when there is none."""

    async def accept(self, invite_digest: str, participant_id: str, name: str, digest: str) -> Participant | None:
        """Use an invite and add the participant, both or neither; None when the invite is not valid."""

    async def inbox(self, query: InboxQuery) -> Sequence[InboxEntry]:
        """Return the inbox: what waits for a person first, then what is unread, then the newest activity."""
