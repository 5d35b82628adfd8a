"""What is stored about the gateway: the contract of `GatewayStore`."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from jelmore.ports import CallEvent, GatewayStore, Store
from jelmore.session.events import EventDraft, EventType
from jelmore.session.record import Session
from jelmore_protocol.gateway import CallPage, CallRecord, CredentialKey, Route, Scope, SealedCredential
from tests.support.records import MOMENT, new_session

GATEWAY = "0198c0de-0000-7000-8000-00000000000a"
OTHER = "0198c0de-0000-7000-8000-00000000000b"


@dataclass
class Stores:
    """A gateway store and the store of its sessions."""

    gateway: GatewayStore
    sessions: Store

    async def session(self) -> Session:
        """Return a new session."""
        session, _ = await self.sessions.create(new_session(), [], most_live=99, idempotency=None)
        return session


def call(seq: int, session: Session | str, **more: Any) -> CallRecord:
    """Return a recorded call of a session."""
    session_id = session if isinstance(session, str) else str(session.id)
    return CallRecord(seq=seq, session_id=session_id, generation=1, at=MOMENT, **{"status": 200, **more})


class GatewayStoreContract:
    """Subclasses provide `stores`."""

    async def test_calls_are_stored_once_and_the_gateway_is_read_on_from_there(self, stores: Stores) -> None:
        session, gateway = await stores.session(), stores.gateway
        page = CallPage(
            gateway=GATEWAY, calls=[call(1, session, model="a", input_tokens=5), call(2, session, model="a")]
        )
        assert await gateway.cursor(UUID(GATEWAY)) == 0
        for _ in range(2):
            await gateway.add_calls(page)
            assert await gateway.cursor(UUID(GATEWAY)) == 2
        await gateway.add_calls(CallPage(gateway=GATEWAY, calls=[call(1, session, model="a", input_tokens=99)]))
        assert await gateway.cursor(UUID(GATEWAY)) == 2
        (usage,) = await gateway.usage(session.id)
        assert (usage.model, usage.calls, usage.input_tokens) == ("a", 2, 5)

    async def test_a_gateway_that_lost_its_state_starts_a_new_count(self, stores: Stores) -> None:
        session, gateway = await stores.session(), stores.gateway
        for name in (GATEWAY, OTHER):
            await gateway.add_calls(CallPage(gateway=name, calls=[call(1, session, model="a", output_tokens=3)]))
        (usage,) = await gateway.usage(session.id)
        assert (usage.calls, usage.output_tokens) == (2, 6)
        await gateway.add_calls(CallPage(gateway=OTHER, calls=[]))
        assert await gateway.cursor(UUID(OTHER)) == 1

    async def test_calls_of_sessions_that_are_gone_are_passed_over(self, stores: Stores) -> None:
        session, gateway = await stores.session(), stores.gateway
        calls = [call(1, "0198c0de-0000-7000-8000-0000000000ff"), call(2, session, model="a")]
        await gateway.add_calls(CallPage(gateway=GATEWAY, calls=calls))
        assert await gateway.cursor(UUID(GATEWAY)) == 2
        assert len(await gateway.usage(session.id)) == 1

    async def test_events_of_calls_are_reported_once_under_the_seqs_of_their_session(self, stores: Stores) -> None:
        session, gateway = await stores.session(), stores.gateway
        other = await stores.session()
        calls = [call(1, session), call(2, other), call(3, session), call(4, session)]
        call_events = [CallEvent(seq, EventType.EGRESS_REFUSED, {"host": f"{seq}\0.example"}) for seq in (1, 2, 3)]
        call_events.append(CallEvent(4, EventType.MCP_CALLED, {"tool": None}))
        for _ in range(2):
            await gateway.add_calls(CallPage(gateway=GATEWAY, calls=calls), call_events)
        changed = await stores.sessions.load(session.id)
        assert (changed.event_seq, changed.version) == (session.event_seq + 3, session.version)
        events = await stores.sessions.events(session.id, session.event_seq, 10)
        assert [(event.seq - session.event_seq, event.type) for event in events] == [
            (1, "egress.refused"),
            (2, "egress.refused"),
            (3, "mcp.called"),
        ]
        assert [event.payload.get("host", "") for event in events] == ["1.example", "3.example", ""]
        saved = await stores.sessions.save(session, [EventDraft(EventType.SESSION_IDLE, {"since": "now"})])
        assert saved.event_seq == session.event_seq + 4, "numbered on from the events that no save made"

    async def test_usage_is_by_model_and_calls_on_routes_are_beside_it(self, stores: Stores) -> None:
        session, gateway = await stores.session(), stores.gateway
        tokens = {"input_tokens": 1, "output_tokens": 2, "cache_read_tokens": 3, "cache_write_tokens": 4}
        calls = [
            call(1, session, model="b", **tokens),
            call(2, session, model="a", **tokens),
            call(3, session, route="mcp/docs", method="tools/call", tool="search\0"),
            call(4, session, route="mcp/docs", method="tools/list", complete=False),
        ]
        await gateway.add_calls(CallPage(gateway=GATEWAY, calls=calls))
        assert [(each.model, each.cache_write_tokens) for each in await gateway.usage(session.id)] == [
            ("a", 4),
            ("b", 4),
        ]
        newest, older = await gateway.calls(session.id, 10)
        assert (newest.method, newest.complete) == ("tools/list", False)
        assert (older.route, older.method, older.tool.rstrip("\0")) == ("mcp/docs", "tools/call", "search")
        assert len(await gateway.calls(session.id, 1)) == 1

    async def test_a_route_is_replaced_and_removed_and_each_change_is_seen(self, stores: Stores) -> None:
        gateway = stores.gateway
        seen = [await gateway.revision()]
        for url in ("https://a.example", "https://b.example"):
            await gateway.put_route(Route(name="mcp/docs", url=url, users=["ann"]))
            seen.append(await gateway.revision())
        assert [route.url for route in await gateway.routes()] == ["https://b.example"]
        assert (await gateway.routes())[0].users == ["ann"]
        assert await gateway.drop_route("mcp/docs")
        seen.append(await gateway.revision())
        assert seen == sorted(set(seen))
        assert not await gateway.drop_route("mcp/docs")
        assert await gateway.routes() == []

    async def test_credentials_are_kept_by_name_and_owner(self, stores: Stores) -> None:
        gateway = stores.gateway

        def of(sealed: str, scope: Scope = Scope.USER, owner: str = "ann") -> SealedCredential:
            return SealedCredential(scope=scope, owner=owner, name="github", sealed=sealed, key_id="k1")

        before = await gateway.revision()
        for each in (of("1"), of("2"), of("3", owner="bob"), of("4", Scope.DEPLOYMENT, "")):
            await gateway.put_credential(each)
        assert await gateway.revision() > before
        kept = [each.credential for each in await gateway.credentials()]
        assert [each.sealed for each in kept] == ["4", "2", "3"]
        await gateway.seal_again(of("1"), of("stale"))
        await gateway.seal_again(of("2"), of("5").model_copy(update={"key_id": "k2"}))
        assert [(c.credential.sealed, c.credential.key_id) for c in await gateway.credentials()][1] == ("5", "k2")
        whose = CredentialKey(scope=Scope.USER, owner="ann", name="github")
        assert await gateway.drop_credential(whose)
        assert not await gateway.drop_credential(whose)
        assert len(await gateway.credentials()) == 2
        await gateway.put_credential(of("6", owner="bob").model_copy(update={"kind": "oauth"}))
        kinds = {each.credential.owner: each.credential.kind for each in await gateway.credentials()}
        assert kinds == {"": "value", "bob": "oauth"}

    async def test_an_authorization_is_taken_once_by_who_began_it(self, stores: Stores) -> None:
        gateway = stores.gateway
        whose = CredentialKey(scope=Scope.USER, owner="ann", name="docs")

        async def kept(state: str, by: str = "key_ann", for_s: float = 600) -> bool:
            return await gateway.keep_authorization(state, by, whose, "mcp/docs", "sealed", for_s=for_s, most=2)

        assert await kept("one")
        assert await kept("two")
        assert not await kept("three")
        assert await kept("four", "key_bob")
        assert await gateway.take_authorization("one", "key_bob") is None
        taken = await gateway.take_authorization("one", "key_ann")
        assert taken is not None
        assert (taken.whose, taken.route, taken.sealed) == (whose, "mcp/docs", "sealed")
        assert await gateway.take_authorization("one", "key_ann") is None
        assert await kept("place")
        assert await gateway.fill_authorization("place", "state", "more")
        assert not await gateway.fill_authorization("place", "other", "more")
        filled = await gateway.take_authorization("state", "key_ann")
        assert filled is not None
        assert filled.sealed == "more"
        await kept("late", for_s=-1)
        assert await gateway.take_authorization("late", "key_ann") is None
