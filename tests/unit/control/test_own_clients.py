"""Clients of sessions' own URLs are counted as this side knows them, whatever a runner says."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from jelmore.control import own_clients
from jelmore.control.attendance import AttendanceKeeper
from jelmore.control.breaker import CircuitBreaker
from jelmore.control.own_clients import OwnClients
from jelmore.control.tasks import Tasks
from jelmore.ports import ApiKey, Role
from jelmore.ports.people import Participant, ParticipantRole
from jelmore.session import attendance as rules
from jelmore.session.errors import DependencyError
from jelmore.session.record import Session, Spec
from tests.fakes.memory_attendance import MemoryAttendance
from tests.fakes.memory_live_output import MemoryLiveOutput

NOW = datetime.now(UTC)
SESSION = Session(id=uuid4(), owner="key_ann", spec=Spec(), created_at=NOW, last_activity_at=NOW, since=NOW)


def _participant(person_id: str, name: str, role: ParticipantRole) -> Participant:
    return Participant(
        session_id=SESSION.id,
        id=person_id,
        name=name,
        role=role,
        read_output_seq=0,
        read_event_seq=0,
        created_at=NOW,
        seen_at=NOW,
    )


class Stored:
    """Keys and participants."""

    def __init__(self) -> None:
        roles = {"key_ann": Role.CLIENT, "key_bob": Role.READONLY, "key_eve": Role.CLIENT}
        self.keys = {name: ApiKey(name, name[4:].title(), role, NOW) for name, role in roles.items()}
        self.away = 0
        self.lists = 0
        self.asked: list[int] = []

    async def keys_by_id(self, key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        if self.away:
            self.away -= 1
            raise DependencyError("postgres", "away")
        self.asked.append(len(key_ids))
        return {each: self.keys[each] for each in key_ids if each in self.keys}

    async def participants(self, session_id: UUID) -> Sequence[Participant]:
        assert session_id == SESSION.id
        self.lists += 1
        joe = _participant("person_joe", "Joe", ParticipantRole.EDITOR)
        amy = _participant("person_amy", "Amy", ParticipantRole.APPROVER)
        return [joe, amy]


class Place:
    def __init__(self) -> None:
        self.stored, self.tasks, live = Stored(), Tasks(), MemoryLiveOutput()
        redis = CircuitBreaker("redis", live.answers, self.tasks)
        self.keeper = AttendanceKeeper(MemoryAttendance(), live, redis, lambda *_: None, "a")
        self.clients = OwnClients(self.keeper, cast("Any", self.stored), cast("Any", self.stored))
        self.tasks.keep("attendance", self.keeper.run)
        self.tasks.keep("own-clients", self.clients.run)

    async def are(self, *people: str) -> None:
        async with asyncio.timeout(5):
            while True:
                found = (await self.keeper.people(SESSION.id)).people
                if sorted(f"{each.name} {each.role}" for each in found) == sorted(people):
                    return
                await asyncio.sleep(0.005)


@pytest_asyncio.fixture
async def place(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(rules, "GRACE_S", 0.02)
    monkeypatch.setattr(own_clients, "_GATHER_S", 0)
    monkeypatch.setattr(own_clients, "_AGAIN_S", 0.01)
    made = Place()
    yield made
    await made.tasks.close()


async def test_who_is_connected_to_a_runner_is_listed_by_name_and_right(place: Place) -> None:
    place.clients.said(SESSION, {"key_ann": True, "key_bob": True, "person_joe": True})
    await place.are("Ann owner", "Bob viewer", "Joe editor")
    assert place.clients.report() == {"sessions": 1}
    place.clients.said(SESSION, {"key_ann": False, "person_amy": False})
    await place.are("Ann owner", "Amy approver")
    place.clients.said(SESSION, {})
    await place.are()
    assert place.clients.report() == {"sessions": 0}


async def test_a_token_that_may_only_read_makes_a_viewer(place: Place) -> None:
    place.clients.said(SESSION, {"key_ann": False, "person_joe": False})
    await place.are("Ann viewer", "Joe viewer")


async def test_a_runner_that_names_others_is_not_believed(place: Place) -> None:
    place.clients.said(SESSION, {"key_eve": True, "key_nobody": True, "person_other": True, "key_ann": True})
    await place.are("Ann owner")


async def test_a_database_that_is_away_delays_and_loses_nothing(place: Place) -> None:
    place.stored.away = 2
    place.clients.said(SESSION, {"key_ann": True})
    await place.are("Ann owner")
    place.clients.said(cast("Session", SimpleNamespace(id=uuid4())), {})  # nobody was there: nothing to look at
    assert place.clients.report() == {"sessions": 1}


async def test_a_client_that_leaves_while_others_are_looked_up_is_not_counted(place: Place) -> None:
    other, asked, go_on = replace(SESSION, id=uuid4()), asyncio.Event(), asyncio.Event()
    found = place.stored.keys_by_id

    async def slow(key_ids: Collection[str]) -> Mapping[str, ApiKey]:
        asked.set()
        await go_on.wait()
        return await found(key_ids)

    place.stored.keys_by_id = slow  # type: ignore[method-assign]
    place.clients.said(other, {"key_ann": True})
    place.clients.said(SESSION, {"key_ann": True})
    await asked.wait()
    place.clients.said(SESSION, {})  # its relay ends while the other session is looked at
    go_on.set()
    await place.are()
    await asyncio.sleep(0.05)
    await place.are()
    assert place.clients.report() == {"sessions": 1}


async def test_the_people_of_a_session_are_read_once_for_all_who_come(place: Place) -> None:
    place.clients.said(SESSION, {"key_ann": True, "person_joe": True, "person_amy": True, "person_nobody": True})
    await place.are("Ann owner", "Joe editor", "Amy approver")
    assert place.stored.lists == 1
    place.clients.said(SESSION, {"key_ann": True, "key_bob": True})
    await place.are("Ann owner", "Bob viewer")
    assert place.stored.asked == [4, 1]  # one query for all who come
    assert place.stored.lists == 1, "not for keys"
