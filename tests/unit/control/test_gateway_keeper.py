"""The gateway's registrations follow the records, whatever the gateway or the manager missed."""

from dataclasses import replace
from datetime import timedelta

import pytest

from jelmore.control.gateway_keeper import GatewayKeeper
from jelmore.session.errors import DependencyError
from jelmore.session.record import Detail, Session
from jelmore.session.states import Fact, Presence
from jelmore_protocol.gateway import sandbox_key
from tests.fakes.gateway import FakeGateway
from tests.fakes.memory_store import MemoryStore
from tests.support.records import MOMENT, ended, new_session


async def stored(store: MemoryStore) -> Session:
    session, _ = await store.create(new_session(container_id="c"), [], most_live=9, idempotency=None)
    return await store.save(*session.after(Fact.READY, MOMENT, Detail(container_id="c")))


def key_of(session: Session) -> str:
    return sandbox_key(session.id, session.generation)


def kept(gateway: FakeGateway, store: MemoryStore) -> GatewayKeeper:
    return GatewayKeeper(gateway, store, lambda: "the public key")


async def test_what_is_missing_is_registered_and_the_public_key_is_sent() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored(store)
    await kept(gateway, store).once()
    assert gateway.sandboxes[key_of(session)].session_id == str(session.id)
    assert gateway.config.token_public_key == "the public key"


async def test_a_gateway_that_lost_its_registrations_gets_them_again() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored(store)
    keeper = kept(gateway, store)
    await keeper.once()
    gateway.sandboxes.clear()
    await keeper.once()
    assert not gateway.sandboxes, "nothing says yet that they are lost"
    gateway.started_at += timedelta(seconds=1)
    await keeper.once()
    assert key_of(session) in gateway.sandboxes


async def test_what_no_record_asks_for_is_withdrawn() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    live, over, asleep, gone = [await stored(store) for _ in range(4)]
    keeper = kept(gateway, store)
    await keeper.once()
    await keeper.register(replace(live, generation=live.generation + 7))
    await store.save(*ended(over))
    await store.save(replace(asleep, presence=Presence.HIBERNATED), [])
    del store.sessions[gone.id]
    gateway.started_at += timedelta(seconds=1)
    await keeper.once()
    assert set(gateway.sandboxes) == {key_of(live)}


async def test_an_end_that_was_asked_for_is_a_revocation_also_for_a_new_manager() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored(store)
    keeper = kept(gateway, store)
    await keeper.once()
    session = await store.save(session.ending(MOMENT, "deleted"), [])
    await kept(gateway, store).once()
    assert gateway.sandboxes[key_of(session)].revoked
    keeper.withdraw(session.id, session.generation)
    await keeper.once()
    assert not gateway.sandboxes


async def test_an_end_is_sent_again_until_the_gateway_has_it() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored(store)
    keeper = kept(gateway, store)
    await keeper.once()
    gateway.away = True
    keeper.revoke(session)
    keeper.revoke(session)
    with pytest.raises(DependencyError):
        await keeper.once()
    gateway.away = False
    await keeper.once()
    assert gateway.sandboxes[key_of(session)].revoked


async def test_a_sandbox_is_not_started_without_the_gateway() -> None:
    store, gateway = MemoryStore(), FakeGateway(away=True)
    with pytest.raises(DependencyError):
        await kept(gateway, store).register(await stored(store))
