"""The gateway's registrations follow the records, whatever the gateway or the manager missed."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from jelmore.control.gateway_keeper import GatewayKeeper, registration_of
from jelmore.session.errors import DependencyError
from jelmore.session.record import Detail, Session
from jelmore.session.states import Fact, Presence
from jelmore_protocol.gateway import (
    CallPage,
    CallRecord,
    EgressConfig,
    LocalServer,
    Route,
    Scope,
    SealedCredential,
    ServerState,
    sandbox_key,
)
from jelmore_protocol.network import Network, NetworkMode
from tests.fakes.gateway import FakeGateway
from tests.fakes.memory_gateway import MemoryGateway
from tests.fakes.memory_store import MemoryStore
from tests.support.records import MOMENT, ended, new_session


async def stored_session(store: MemoryStore) -> Session:
    session, _ = await store.create(new_session(container_id="c"), [], most_live=9, idempotency=None)
    return await store.save(*session.after(Fact.READY, MOMENT, Detail(container_id="c")))


def key_of(session: Session) -> str:
    return sandbox_key(session.id, session.generation)


def kept(gateway: FakeGateway, store: MemoryStore, **more: Any) -> GatewayKeeper:
    return GatewayKeeper(gateway, store, MemoryGateway(store), lambda: "the public key", **more)


async def test_what_is_missing_is_registered_and_the_public_key_is_sent() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored_session(store)
    await kept(gateway, store).once()
    assert gateway.sandboxes[key_of(session)].session_id == str(session.id)
    assert gateway.config.token_public_key == "the public key"


async def test_a_gateway_that_lost_its_registrations_gets_them_again() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored_session(store)
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
    live, over, sleeping_session, gone = [await stored_session(store) for _ in range(4)]
    keeper = kept(gateway, store)
    await keeper.once()
    await keeper.register(replace(live, generation=live.generation + 7))
    await store.save(*ended(over))
    await store.save(replace(sleeping_session, presence=Presence.HIBERNATED), [])
    del store.sessions[gone.id]
    gateway.started_at += timedelta(seconds=1)
    await keeper.once()
    assert set(gateway.sandboxes) == {key_of(live)}


async def test_an_end_that_was_asked_for_is_a_revocation_also_for_a_new_manager() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored_session(store)
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
    session = await stored_session(store)
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


async def test_an_end_does_not_wait_for_what_a_look_has_to_do() -> None:
    """A manager that was away for long collects calls for a minute; a deleted session must not continue meanwhile."""

    class Slow(FakeGateway):
        async def calls(self, after: int) -> CallPage:
            await asyncio.Event().wait()
            raise AssertionError

    store, gateway = MemoryStore(), Slow()
    session = await stored_session(store)
    keeper = kept(gateway, store)
    await keeper.register(session)
    gateway.recorded = [
        CallRecord(seq=1, session_id=str(session.id), generation=1, at=MOMENT, route="model", status=200)
    ]
    tasks = [
        asyncio.create_task(keeper.run(), name="look"),
        asyncio.create_task(keeper.run_revocations(), name="revocations"),
    ]
    await asyncio.sleep(1)
    keeper.revoke(session)
    await asyncio.sleep(0.1)
    assert gateway.revoked == [key_of(session)]
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


async def test_a_sandbox_is_not_started_without_the_gateway() -> None:
    store, gateway = MemoryStore(), FakeGateway(away=True)
    with pytest.raises(DependencyError):
        await kept(gateway, store).register(await stored_session(store))


async def test_routes_and_credentials_are_sent_when_they_change() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    stored = MemoryGateway(store)
    keeper = GatewayKeeper(gateway, store, stored, lambda: "key")
    await keeper.once()
    await stored.put_route(Route(name="mcp/docs", url="https://docs.example"))
    await stored.put_credential(SealedCredential(scope=Scope.DEPLOYMENT, name="docs", sealed="key-1:s", key_id="key-1"))
    await keeper.once()
    assert [route.name for route in gateway.config.routes] == ["mcp/docs"]
    assert [each.sealed for each in gateway.config.credentials] == ["key-1:s"]
    await stored.drop_route("mcp/docs")
    await keeper.once()
    assert gateway.config.routes == []


async def test_a_new_key_re_encrypts_what_an_older_one_encrypted() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    stored = MemoryGateway(store)
    keeper = GatewayKeeper(gateway, store, stored, lambda: "key")
    await stored.put_credential(SealedCredential(scope=Scope.DEPLOYMENT, name="docs", sealed="key-1:s", key_id="key-1"))
    await keeper.once()
    gateway.key_id = "key-2"
    await keeper.once()
    (kept,) = await stored.credentials()
    assert (kept.credential.sealed, kept.credential.key_id) == ("key-2:s", "key-2")
    assert [each.sealed for each in gateway.config.credentials] == ["key-2:s"]


async def test_what_the_gateway_recorded_is_stored_once_and_survives_both_sides() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    stored, session = MemoryGateway(store), await stored_session(store)
    for seq in (1, 2):
        gateway.recorded.append(
            CallRecord(seq=seq, session_id=str(session.id), generation=1, at=MOMENT, status=200, input_tokens=5)
        )
        await GatewayKeeper(gateway, store, stored, lambda: "key").once()  # a new manager each time
    (usage,) = await stored.usage(session.id)
    assert (usage.calls, usage.input_tokens) == (2, 10)


async def test_a_session_gets_the_mcp_servers_that_its_user_may_use_and_its_own() -> None:
    store = MemoryStore()
    stored, session = MemoryGateway(store), await stored_session(store)
    keeper = GatewayKeeper(FakeGateway(), store, stored, lambda: "key")
    for route in (
        Route(name="mcp/docs", url="https://docs.example"),
        Route(name="mcp/anns", url="https://anns.example", users=["ann"]),
        Route(name="mcp/bobs", url="https://bobs.example", users=["bob"]),
        Route(name="mcp/small", url="https://small.example", profiles=["small"]),
        Route(name="mcp/plain", url="https://plain.example", users=["ann"], profiles=["default"]),
        Route(name="git/host", url="https://host.example"),
    ):
        await stored.put_route(route)
    own = {"docs": {"command": "mine"}}
    spec = replace(session.spec, user_id="ann", acts_for_user=True, mcp_servers=own)
    assert await keeper.mcp_servers(replace(session, spec=spec)) == {
        "docs": {"command": "mine"},
        "anns": {"type": "http", "url": "http://gateway/mcp/anns"},
        "plain": {"type": "http", "url": "http://gateway/mcp/plain"},
    }
    label = replace(spec, acts_for_user=False, mcp_servers={})  # its creator may not act for the user
    assert set(await keeper.mcp_servers(replace(session, spec=label))) == {"docs"}
    assert registration_of(replace(session, spec=label)).user_id == ""
    assert registration_of(replace(session, spec=spec)).user_id == "ann"
    spec = replace(spec, profile="small", mcp_servers={})
    assert set(await keeper.mcp_servers(replace(session, spec=spec))) == {"docs", "anns", "small"}
    assert registration_of(replace(session, spec=spec)).profile == "small"


async def test_a_session_gets_the_stdio_servers_that_it_may_use_unless_a_route_has_the_name() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    stored, session = MemoryGateway(store), await stored_session(store)
    await stored.put_route(Route(name="mcp/docs", url="https://docs.example/sse", transport="sse"))
    gateway.local_servers = [
        LocalServer(name="mcp/docs"),
        LocalServer(name="mcp/clock"),
        LocalServer(name="mcp/bobs", users=["bob"]),
    ]
    keeper = GatewayKeeper(gateway, store, stored, lambda: "key")
    await keeper.once()
    assert await keeper.mcp_servers(session) == {
        "clock": {"type": "http", "url": "http://gateway/mcp/clock"},
        "docs": {"type": "sse", "url": "http://gateway/mcp/docs"},
    }


async def test_the_health_report_counts_the_servers_that_answer() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    gateway.servers = [ServerState(name="mcp/docs", ok=False, problem="it answers 404", at=MOMENT)]
    keeper = kept(gateway, store)
    assert keeper.report() == {"mcp_servers": {"ok": 0, "failed": 0}}
    await keeper.once()
    assert keeper.report() == {"mcp_servers": {"ok": 0, "failed": 1}}, "anybody may read it: no name and no address"
    assert keeper.servers == gateway.servers


async def test_a_changed_network_is_sent_at_once_and_once() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored_session(store)
    keeper = kept(gateway, store)
    await keeper.once()
    assert gateway.sandboxes[key_of(session)].network == Network()
    network = {"mode": "custom", "allow": ["a.example"]}
    changed = await store.save(replace(session, spec=replace(session.spec, network=network)), [])
    keeper.follow(changed)
    await keeper.once()
    assert gateway.sandboxes[key_of(session)].network == Network.model_validate(network)
    # What this manager has sent already, it does not send again.
    gateway.sandboxes.clear()
    keeper.follow(changed)
    await keeper.once()
    assert gateway.sandboxes == {}


async def test_a_network_that_another_manager_changed_is_found_by_the_comparison() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    session = await stored_session(store)
    await kept(gateway, store).once()
    network = {"mode": "open", "allow": []}
    await store.save(replace(session, spec=replace(session.spec, network=network)), [])
    await kept(gateway, store).once()
    assert gateway.sandboxes[key_of(session)].network.mode is NetworkMode.OPEN


async def test_the_deployments_rules_are_sent_with_the_configuration() -> None:
    store, gateway = MemoryStore(), FakeGateway()
    await kept(gateway, store).once()
    before = gateway.config.digest
    bounds = EgressConfig(connections=7)
    await kept(gateway, store, egress=bounds, package_hosts=["a.example"]).once()
    assert gateway.config.egress == bounds
    assert gateway.config.package_hosts == ["a.example"]
    assert gateway.config.digest != before
