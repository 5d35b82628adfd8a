"""People around a session: who they are, what their credentials open, and what they may do for others."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from jelmore.control.access import digest
from jelmore.control.people import InviteRequest, People
from jelmore.control.requests import Caller
from jelmore.control.sessions import SessionQueries
from jelmore.control.tickets import Tickets
from jelmore.ports import ApiKey, Page, Role, StoredEvent
from jelmore.ports.people import InboxEntry, InboxQuery, Invite, Participant, ParticipantRole
from jelmore.session.errors import ForbiddenError, NotFoundError, UnauthenticatedError, UnknownSessionError
from jelmore.session.record import Session
from tests.fakes.memory_event_log import MemoryEventLog
from tests.fakes.memory_store import MemoryStore
from tests.support.records import MOMENT, created

ALICE = Caller(ApiKey("alice", "Alice", Role.CLIENT, MOMENT))
BOB = Caller(ApiKey("bob", "Bob", Role.CLIENT, MOMENT))
READER = Caller(ApiKey("reader", "Reader", Role.READONLY, MOMENT))
REQUEST = InviteRequest(ParticipantRole.EDITOR, 60, None, 1)


class MemoryPeople:
    """The `PeopleStore` port in memory."""

    def __init__(self) -> None:
        self.people: dict[tuple[UUID, str], Participant] = {}
        self.removed: set[tuple[UUID, str]] = set()
        self.credentials: dict[str, tuple[UUID, str]] = {}
        self.by_invite: dict[str, Invite] = {}
        self.added: list[tuple[str, Mapping[str, Any]]] = []
        self.asked: list[InboxQuery] = []

    async def participants(self, session_id: UUID) -> Sequence[Participant]:
        return [each for key, each in self.people.items() if key[0] == session_id and key not in self.removed]

    async def join(self, session_id: UUID, participant_id: str, name: str, role: ParticipantRole) -> Participant | None:
        if (session_id, participant_id) in self.removed:
            return None
        made = Participant(
            session_id=session_id,
            id=participant_id,
            name=name,
            role=role,
            read_output_seq=0,
            read_event_seq=0,
            created_at=MOMENT,
            seen_at=MOMENT,
        )
        self.people[session_id, participant_id] = made
        return made

    async def by_digest(self, digest: str) -> Participant | None:
        key = self.credentials.get(digest)
        return None if key is None or key in self.removed else self.people[key]

    async def remove(self, session_id: UUID, participant_id: str) -> bool:
        key = (session_id, participant_id)
        known = key in self.people and key not in self.removed
        self.removed.add(key)
        return known

    async def mark_read(
        self, session_id: UUID, participant_id: str, output_seq: int, event_seq: int
    ) -> Participant | None:
        found = self.people.get((session_id, participant_id))
        return found and replace(found, read_output_seq=output_seq, read_event_seq=event_seq)

    async def add_event(self, session_id: UUID, event_type: str, payload: Mapping[str, Any]) -> int | None:
        self.added.append((event_type, payload))
        return len(self.added)

    async def add_invite(
        self, invite: Invite, digest: str, *, ttl_s: float, access_ttl_s: float | None
    ) -> Invite | None:
        self.by_invite[digest] = invite
        return invite

    async def invites(self, session_id: UUID) -> Sequence[Invite]:
        return list(self.by_invite.values())

    async def revoke_invite(self, session_id: UUID, invite_id: UUID, *, with_people: bool) -> bool:
        found = [text for text, invite in self.by_invite.items() if invite.id == invite_id]
        for text in found:
            del self.by_invite[text]
        return bool(found)

    async def accept(self, invite_digest: str, participant_id: str, name: str, digest: str) -> Participant | None:
        invite = self.by_invite.pop(invite_digest, None)
        if invite is None:
            return None
        self.credentials[digest] = (invite.session_id, participant_id)
        return await self.join(invite.session_id, participant_id, name, invite.role)

    async def inbox(self, query: InboxQuery) -> Sequence[InboxEntry]:
        self.asked.append(query)
        return []


class Queries:
    """The reads of sessions that people need."""

    def __init__(self, store: MemoryStore) -> None:
        self._store = store

    async def get(self, caller: Caller, session_id: UUID) -> Session:
        return caller.sees(await self._store.load(session_id))

    async def events(
        self, caller: Caller, session_id: UUID, after: int, limit: int, types: Sequence[str]
    ) -> Page[StoredEvent]:
        await self.get(caller, session_id)
        payload = {"author": "alice", "name": "Alice", "text": "hello"}
        return Page([StoredEvent(session_id, 4, types[0], MOMENT, payload, None, 1)])


class World:
    """A session of Alice's and the people around it."""

    def __init__(self) -> None:
        self.store, self.rows = MemoryStore(), MemoryPeople()
        queries = cast("SessionQueries", Queries(self.store))
        self.people = People(self.rows, queries, self.store.load)

    async def session(self) -> UUID:
        return (await created(self.store, owner="alice")).id

    async def invited(self, session_id: UUID, role: ParticipantRole = ParticipantRole.EDITOR) -> Caller:
        _, text = await self.people.invite(ALICE, session_id, replace(REQUEST, role=role))
        joined = await self.people.accept(text, "Ann")
        return await self.people.caller_of(joined.credential, session_id)


async def test_a_key_acts_for_itself_and_for_its_users() -> None:
    world = World()
    session_id = await world.session()
    await world.people.comment(ALICE, session_id, "hello", None)
    await world.people.comment(ALICE, session_id, "hi", "ann")
    named = [(payload["author"], payload["name"]) for _, payload in world.rows.added]
    assert named == [("alice", "Alice"), ("user:ann", "ann")]
    roles = {each.id: each.role.value for each in await world.people.participants(ALICE, session_id)}
    assert roles == {"alice": "owner", "user:ann": "editor"}
    marked = await world.people.mark_read(ALICE, session_id, 3, None, "ann")
    assert (marked.id, marked.read_output_seq, marked.read_event_seq) == ("user:ann", 3, 2**62)
    [comment] = await world.people.comments(ALICE, session_id, 0, 10)
    assert (comment.seq, comment.name, comment.text) == (4, "Alice", "hello")
    await world.people.inbox(ALICE, "ann", 10)
    await world.people.inbox(READER, None, 10)
    assert world.rows.asked == [InboxQuery("user:ann", "alice", "ann", 10), InboxQuery("reader", None, None, 10)]


async def test_an_invited_person_is_themselves_in_one_session() -> None:
    world = World()
    session_id, other = await world.session(), await world.session()
    ann, eve = await world.invited(session_id), await world.invited(session_id, ParticipantRole.VIEWER)
    assert (ann.can_write, eve.can_write, ann.participant) == (True, False, True)
    assert ann.subject.startswith("person_")
    await world.people.comment(eve, session_id, "hello", None)
    assert world.rows.added[-1][1]["name"] == "Ann"
    renamed = await world.people.join(eve, session_id, None, "Eve")
    assert (renamed.name, renamed.role) == ("Eve", ParticipantRole.VIEWER)
    with pytest.raises(ForbiddenError, match="acts for its users"):
        await world.people.comment(ann, session_id, "hello", "bob")
    with pytest.raises(ForbiddenError, match="API key"):
        await world.people.invite(ann, session_id, REQUEST)
    _, text = await world.people.invite(ALICE, session_id, REQUEST)
    joined = await world.people.accept(text, "Bob")
    with pytest.raises(ForbiddenError, match="another session"):
        await world.people.caller_of(joined.credential, other)
    with pytest.raises(UnauthenticatedError):
        await world.people.accept(text, "again")
    await world.people.remove(ALICE, session_id, joined.participant.id)
    with pytest.raises(UnauthenticatedError):
        await world.people.caller_of(joined.credential, session_id)
    await world.people.remove(ALICE, session_id, ann.subject)
    with pytest.raises(UnauthenticatedError, match="removed"):
        await world.people.comment(ann, session_id, "hello", None)
    with pytest.raises(ForbiddenError, match="removed"):
        await world.people.join(ann, session_id, None, None)


async def test_only_who_holds_the_session_manages_its_people() -> None:
    world = World()
    session_id = await world.session()
    invite, _ = await world.people.invite(ALICE, session_id, REQUEST)
    assert await world.people.invites(ALICE, session_id) == [invite]
    for call in (
        world.people.invite(BOB, session_id, REQUEST),
        world.people.invites(BOB, session_id),
        world.people.participants(BOB, session_id),
        world.people.join(BOB, session_id, None, None),
        world.people.comment(BOB, session_id, "hello", None),
    ):
        with pytest.raises(UnknownSessionError):
            await call
    for refused in (
        world.people.invite(READER, session_id, REQUEST),
        world.people.comment(READER, session_id, "hello", None),
        world.people.mark_read(READER, session_id, None, None, None),
    ):
        with pytest.raises(ForbiddenError):
            await refused
    await world.people.revoke_invite(ALICE, session_id, invite.id, with_people=True)
    with pytest.raises(NotFoundError):
        await world.people.revoke_invite(ALICE, session_id, invite.id, with_people=True)
    with pytest.raises(NotFoundError):
        await world.people.remove(ALICE, session_id, "nobody")


async def test_a_ticket_is_for_one_use_of_one_caller() -> None:
    store = MemoryStore()

    class Keys:
        async def caller_by_id(self, key_id: str) -> Caller:
            return {"alice": ALICE}[key_id]

    tickets = Tickets(MemoryEventLog(store), cast("Any", SimpleNamespace(keys=Keys())))
    one, other = UUID(int=1), UUID(int=2)
    ticket = await tickets.issue(ALICE, one)
    assert digest(ticket.text) != ticket.text
    assert await tickets.redeem(ticket.text, one) == ALICE
    with pytest.raises(UnauthenticatedError):
        await tickets.redeem(ticket.text, one)
    with pytest.raises(ForbiddenError):
        await tickets.redeem((await tickets.issue(ALICE, one)).text, other)
    text = (await tickets.issue(ALICE, None)).text
    taken = await asyncio.gather(*(tickets.redeem(text, other) for _ in range(2)), return_exceptions=True)
    assert sorted(type(each).__name__ for each in taken) == ["Caller", "UnauthenticatedError"]
