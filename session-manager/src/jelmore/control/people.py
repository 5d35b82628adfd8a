"""People around a session: who takes part, what they have read, what they say to each other, and who is invited.

A participant who was invited has a credential of their own for this one session. Callers with an API key take part
under the id of the key, or under the name of one of their users.
"""

import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuids

from jelmore.control.access import digest
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.ports import ApiKey, Role
from jelmore.ports.people import (
    InboxEntry,
    InboxQuery,
    Invite,
    Participant,
    ParticipantRole,
    PeopleStore,
)
from jelmore.session.errors import ForbiddenError, NotFoundError, UnauthenticatedError, UnknownSessionError
from jelmore.session.events import EventType
from jelmore.session.record import Session

PARTICIPANT_PREFIX: Final = "jlp_"
INVITE_PREFIX: Final = "jli_"
_ID_PREFIX: Final = "person_"
_USER_PREFIX: Final = "user:"


@dataclass(frozen=True, slots=True)
class Comment:
    """A message of a person to the other people of a session. The agent does not see it."""

    seq: int
    author: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class InviteRequest:
    """An invite to make. `access_ttl_s` limits the access of who accepts it; None means until removed."""

    role: ParticipantRole
    ttl_s: float
    access_ttl_s: float | None
    uses: int


@dataclass(frozen=True, slots=True)
class Joined:
    """Who has accepted an invite, with the credential that is shown once."""

    participant: Participant
    credential: str


class People:
    """Participants, comments, read marks, invites and the inbox."""

    def __init__(
        self, store: PeopleStore, sessions: SessionQueries, load: Callable[[UUID], Awaitable[Session]]
    ) -> None:
        self._store = store
        self._sessions = sessions
        self._load = load

    # --- who takes part

    async def participants(self, caller: Caller, session_id: UUID) -> Sequence[Participant]:
        """Return the participants of a session."""
        await self._sessions.get(caller, session_id)
        return await self._store.participants(session_id)

    async def join(self, caller: Caller, session_id: UUID, user: str | None, name: str | None) -> Participant:
        """Take part, or change the name. Raises ForbiddenError for a participant that was removed."""
        await self._sessions.get(caller, session_id)
        _check_may_write(caller)
        participant_id = _participant_id(caller, user)
        shown = name or user or caller.key.name
        role = ParticipantRole.EDITOR if user is not None else ParticipantRole.OWNER
        if caller.participant:
            role = ParticipantRole.EDITOR if caller.can_write else ParticipantRole.VIEWER
            role = ParticipantRole.APPROVER if caller.approver else role
        joined = await self._store.join(session_id, participant_id, shown, role)
        if joined is None:
            raise ForbiddenError("this participant was removed from the session")
        return joined

    async def own(self, caller: Caller, session_id: UUID) -> Participant:
        """Return the participant that the caller is. Raises NotFoundError for somebody who does not take part."""
        for participant in await self.participants(caller, session_id):
            if participant.id == caller.subject:
                return participant
        raise NotFoundError("you do not take part in this session")

    async def leave(self, caller: Caller, session_id: UUID) -> None:
        """End the access of an invited person. Raises ForbiddenError for a caller with a key."""
        if not caller.participant:
            raise ForbiddenError("only somebody who was invited leaves a session")
        await self._store.remove(session_id, caller.subject)

    async def remove(self, caller: Caller, session_id: UUID, participant_id: str) -> None:
        """Remove a participant: their streams and tokens end within a second. Raises NotFoundError."""
        await self._check_owner(caller, session_id)
        if not await self._store.remove(session_id, participant_id):
            raise NotFoundError(f"there is no participant {participant_id[:64]}")

    async def caller_of(self, credential: str, session_id: UUID | None) -> Caller:
        """Return the caller that holds a participant's credential.

        Raises UnauthenticatedError; ForbiddenError for another session, so that what exists is not revealed.
        """
        found = await self._store.by_digest(digest(credential))
        if found is None:
            raise UnauthenticatedError("this credential is not known, or was revoked")
        if found.session_id != session_id:
            raise ForbiddenError("this credential opens another session")
        session = await self._load(found.session_id)
        role = Role.CLIENT if found.role is ParticipantRole.EDITOR else Role.READONLY
        key = ApiKey(session.owner, found.name, role, found.created_at)
        approver = found.role is ParticipantRole.APPROVER
        return Caller(key, token_subject=found.id, participant=True, approver=approver)

    # --- what they say and read

    async def comment(self, caller: Caller, session_id: UUID, text: str, user: str | None) -> Comment:
        """Post a comment. The author becomes a participant. Read marks do not move; each call posts another comment."""
        author = await self._known(caller, session_id, user)
        payload = {"author": author.id, "name": author.name, "text": text}
        seq = await self._store.add_event(session_id, EventType.COMMENT_POSTED, payload)
        if seq is None:
            raise UnknownSessionError(session_id)
        return Comment(seq, author.id, author.name, text)

    async def comments(self, caller: Caller, session_id: UUID, after: int, limit: int) -> Sequence[Comment]:
        """Return comments with a seq above `after`, in order."""
        events = await self._sessions.events(caller, session_id, after, limit, [EventType.COMMENT_POSTED.value])
        return [
            Comment(
                event.seq,
                str(event.payload.get("author", "")),
                str(event.payload.get("name", "")),
                str(event.payload.get("text", "")),
            )
            for event in events
        ]

    async def mark_read(
        self, caller: Caller, session_id: UUID, output_seq: int | None, event_seq: int | None, user: str | None
    ) -> Participant:
        """Mark output and events as read up to these numbers; None marks everything. Marks never move back."""
        reader = await self._known(caller, session_id, user)
        everything = 2**62
        marked = await self._store.mark_read(
            session_id,
            reader.id,
            everything if output_seq is None else output_seq,
            everything if event_seq is None else event_seq,
        )
        if marked is None:
            raise NotFoundError(f"there is no participant {reader.id}")
        return marked

    async def inbox(self, caller: Caller, user: str | None, limit: int) -> Sequence[InboxEntry]:
        """Return the sessions of a person, what waits for them first. Without `user` those that the key sees."""
        query = InboxQuery(_participant_id(caller, user), caller.sees_only, user, limit)
        return await self._store.inbox(query)

    # --- invites

    async def invite(self, caller: Caller, session_id: UUID, request: InviteRequest) -> tuple[Invite, str]:
        """Make an invite; return it with its text, which is not stored."""
        await self._check_owner(caller, session_id)
        text = INVITE_PREFIX + secrets.token_urlsafe(32)
        now = datetime.now(UTC)
        invite = Invite(
            id=uuids.uuid7(),
            session_id=session_id,
            role=request.role,
            created_by=caller.key.id,
            created_at=now,
            expires_at=now,
            access_expires_at=None,
            uses_left=request.uses,
        )
        stored = await self._store.add_invite(
            invite, digest(text), ttl_s=request.ttl_s, access_ttl_s=request.access_ttl_s
        )
        if stored is None:
            raise UnknownSessionError(session_id)
        return stored, text

    async def invites(self, caller: Caller, session_id: UUID) -> Sequence[Invite]:
        """Return the invites that can still be used."""
        await self._check_owner(caller, session_id)
        return await self._store.invites(session_id)

    async def revoke_invite(self, caller: Caller, session_id: UUID, invite_id: UUID, *, with_people: bool) -> None:
        """Revoke an invite, and with `with_people` the access of those who accepted it. Raises NotFoundError."""
        await self._check_owner(caller, session_id)
        if not await self._store.revoke_invite(session_id, invite_id, with_people=with_people):
            raise NotFoundError(f"there is no invite {invite_id}")

    async def accept(self, text: str, name: str) -> Joined:
        """Accept an invite. Raises UnauthenticatedError when it is unknown, used up, revoked or expired."""
        credential = PARTICIPANT_PREFIX + secrets.token_urlsafe(32)
        participant_id = _ID_PREFIX + secrets.token_hex(8)
        joined = await self._store.accept(digest(text), participant_id, name, digest(credential))
        if joined is None:
            raise UnauthenticatedError("this invite is not known, was used or revoked, or has run out")
        return Joined(joined, credential)

    async def _check_owner(self, caller: Caller, session_id: UUID) -> None:
        caller.check_may_write()
        if caller.token_subject is not None:
            raise ForbiddenError("this needs an API key")
        await self._sessions.get(caller, session_id)

    async def _known(self, caller: Caller, session_id: UUID, user: str | None) -> Participant:
        """Return the participant that the caller is, who joins if necessary."""
        if not caller.participant:
            return await self.join(caller, session_id, user, None)
        for participant in await self._store.participants(session_id):
            if participant.id == _participant_id(caller, user):
                return participant
        raise UnauthenticatedError("this participant was removed from the session")


def _check_may_write(caller: Caller) -> None:
    """Raise ForbiddenError for a read-only key. A viewer, who was invited, may comment."""
    if not caller.participant:
        caller.check_may_write()


def _participant_id(caller: Caller, user: str | None) -> str:
    """Return who the caller is in a session: an invited person, a user of the key's holder, or the key itself."""
    if user is not None:
        if caller.participant:
            raise ForbiddenError("user: only an API key acts for its users")
        return _USER_PREFIX + user
    return caller.subject
