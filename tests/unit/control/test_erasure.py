"""Erasures: in which order, and what prevents one."""

import pytest

from jelmore.session.errors import ConflictError, DependencyError, ForbiddenError, StaleError, UnknownSessionError
from jelmore.session.record import Session
from tests.support.records import ended
from tests.unit.control.static_harness import StaticHarness
from tests.unit.control.world import ADMIN, ALICE, BOB, READER


async def over(harness: StaticHarness) -> Session:
    session, _ = await harness.session(owner=ALICE.key.id)
    session = await harness.store.save(*ended(session))
    harness.store.outbox.clear()
    await harness.bus.connect()
    return session


async def test_everything_goes_and_a_repeat_answers_the_same() -> None:
    harness = StaticHarness()
    session = await over(harness)
    await harness.bus.publish(await harness.store.events(session.id, 0, 100))
    proof = await harness.eraser.erase(ALICE, session.id, end=False)
    assert (proof.found["workspace"], proof.found["jetstream"], proof.erased_by) == (1, 2, "key_alice")
    assert (harness.sandboxes.volumes, harness.bus.published, harness.store.sessions) == ({}, [], {})
    assert await harness.eraser.erase(ADMIN, session.id, end=True) == proof
    with pytest.raises(UnknownSessionError):
        await harness.eraser.erase(BOB, session.id, end=True)
    with pytest.raises(ForbiddenError):
        await harness.eraser.erase(READER, session.id, end=True)


async def test_a_live_session_is_ended_only_on_request() -> None:
    harness = StaticHarness()
    session, _ = await harness.session(owner=ALICE.key.id)
    await harness.bus.connect()
    with pytest.raises(ConflictError, match="end=true"):
        await harness.eraser.erase(ALICE, session.id, end=False)
    harness.store.away = True
    with pytest.raises(DependencyError):
        await harness.eraser.erase(ALICE, session.id, end=True)
    harness.store.away = False
    assert session.id in harness.sandboxes.volumes, "nothing was touched"


async def test_a_session_that_was_resumed_meanwhile_is_not_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = StaticHarness()
    session = await over(harness)

    async def stale(*_: object) -> None:
        raise StaleError("it is live")

    monkeypatch.setattr(harness.erasures, "erase", stale)
    with pytest.raises(ConflictError, match="resumed meanwhile"):
        await harness.eraser.erase(ALICE, session.id, end=False)
    assert session.id in harness.store.sessions


async def test_a_bus_that_is_away_stops_an_erasure_that_can_be_repeated() -> None:
    harness = StaticHarness()
    session = await over(harness)
    harness.bus.away = True
    with pytest.raises(DependencyError):
        await harness.eraser.erase(ALICE, session.id, end=False)
    assert session.id in harness.store.sessions
    harness.bus.away = False
    assert (await harness.eraser.erase(ALICE, session.id, end=False)).remaining["sessions"] == 0
