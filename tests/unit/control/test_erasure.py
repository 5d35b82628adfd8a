"""Erasures: in which order, and what prevents one."""

import pytest

from jelmore.session.errors import ConflictError, DependencyError, ForbiddenError, StaleError, UnknownSessionError
from jelmore.session.record import Session
from tests.support.records import ended
from tests.unit.control.history import House
from tests.unit.control.world import ADMIN, ALICE, BOB, READER


async def over(house: House) -> Session:
    session, _ = await house.session(owner=ALICE.key.id)
    session = await house.store.save(*ended(session))
    house.store.outbox.clear()
    await house.bus.connect()
    return session


async def test_everything_goes_and_a_repeat_answers_the_same() -> None:
    house = House()
    session = await over(house)
    await house.bus.publish(await house.store.events(session.id, 0, 100))
    proof = await house.eraser.erase(ALICE, session.id, end=False)
    assert (proof.found["workspace"], proof.found["jetstream"], proof.erased_by) == (1, 2, "key_alice")
    assert (house.sandboxes.volumes, house.bus.published, house.store.sessions) == ({}, [], {})
    assert await house.eraser.erase(ADMIN, session.id, end=True) == proof
    with pytest.raises(UnknownSessionError):
        await house.eraser.erase(BOB, session.id, end=True)
    with pytest.raises(ForbiddenError):
        await house.eraser.erase(READER, session.id, end=True)


async def test_a_live_session_is_ended_only_on_request() -> None:
    house = House()
    session, _ = await house.session(owner=ALICE.key.id)
    await house.bus.connect()
    with pytest.raises(ConflictError, match="end=true"):
        await house.eraser.erase(ALICE, session.id, end=False)
    house.store.away = True
    with pytest.raises(DependencyError):
        await house.eraser.erase(ALICE, session.id, end=True)
    house.store.away = False
    assert session.id in house.sandboxes.volumes, "nothing was touched"


async def test_a_session_that_was_resumed_meanwhile_is_not_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House()
    session = await over(house)

    async def stale(*_: object) -> None:
        raise StaleError("it is live")

    monkeypatch.setattr(house.erasures, "erase", stale)
    with pytest.raises(ConflictError, match="resumed meanwhile"):
        await house.eraser.erase(ALICE, session.id, end=False)
    assert session.id in house.store.sessions


async def test_a_bus_that_is_away_stops_an_erasure_that_can_be_repeated() -> None:
    house = House()
    session = await over(house)
    house.bus.away = True
    with pytest.raises(DependencyError):
        await house.eraser.erase(ALICE, session.id, end=False)
    assert session.id in house.store.sessions
    house.bus.away = False
    assert (await house.eraser.erase(ALICE, session.id, end=False)).remaining["sessions"] == 0
