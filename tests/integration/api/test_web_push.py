"""A browser is notified when a session waits for a person: with a push service that opens the message."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from jelmore.control import webhook_rules
from jelmore.control.web_push import MAX_BROWSERS
from jelmore.ports import Role
from jelmore_protocol.events import Pending, WaitingFor
from tests.integration.api.world import World, world
from tests.support.push_service import PushService
from tests.support.waiting import until

pytestmark = pytest.mark.integration
PUSH = "/api/v1/push/subscriptions"
PERMISSION = Pending(
    request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="agent says: rm", input={"command": "secret"}
)


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


@pytest_asyncio.fixture
async def service() -> AsyncIterator[PushService]:
    async with PushService() as made:
        yield made


async def asks(api: World, http: Any, title: str = "Mend the parser") -> str:
    """Return a session that waits for a permission."""
    session_id = str((await http.post("/api/v1/sessions", json={"title": title})).json()["id"])
    await http.post(f"/api/v1/sessions/{session_id}/input", json={"input": "list", "id": "i1"})
    runner = await api.runner(session_id)
    await until(lambda: "i1" in runner.inputs)
    await runner.ask(PERMISSION)
    return session_id


async def test_a_browser_is_notified_and_the_push_service_reads_nothing(api: World, service: PushService) -> None:
    async with api.client() as http:
        push = (await http.get("/api/v1/push")).json()
        assert push["enabled"] is True
        made = await http.post(PUSH, json=service.subscription())
        assert made.status_code == 201, made.text
        session_id = await asks(api, http)
        await until(lambda: len(service.messages) == 1)
        assert service.messages == [{"title": "Mend the parser", "session_id": session_id, "waiting_for": "permission"}]
        assert service.claims[0]["sub"] == "mailto:ops@example.org"
        assert service.keys == {push["public_key"]}, "the key that the browser subscribed with"
        headers = service.headers[0]
        assert (headers["Content-Encoding"], headers["Urgency"], headers["TTL"]) == ("aes128gcm", "high", "3600")
        assert (await http.get("/api/v1/webhooks")).json() == [], "a browser is no webhook"
        assert (await http.delete(f"{PUSH}/{made.json()['id']}")).status_code == 204
        assert (await http.delete(f"{PUSH}/{made.json()['id']}")).status_code == 204
        await asks(api, http)
        assert len(await api.events.webhook_store.active()) == 0
        assert len(service.messages) == 1


async def test_only_the_sessions_of_ones_own_key_unless_all_are_wanted(api: World, service: PushService) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        await admin.post(PUSH, json=service.subscription("admin"))
        await client.post(PUSH, json={**service.subscription("client"), "sessions": "all"})
        own = await asks(api, client, "Of the client")
        await until(lambda: len(service.messages) == 1)
        await admin.post(PUSH, json={**service.subscription("admin"), "sessions": "all"})
        other = await asks(api, admin, "Of the admin")
        await until(lambda: len(service.messages) == 2)
        assert [each["session_id"] for each in service.messages] == [own, other]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_browser_that_is_gone_is_removed(api: World, service: PushService, status: int) -> None:
    service.statuses = [status]
    async with api.client() as http:
        await http.post(PUSH, json=service.subscription())
        await asks(api, http)

        async def removed() -> bool:
            return not await api.events.webhook_store.active()

        await until(removed)
    assert len(service.messages) == 1


async def test_a_push_service_that_fails_is_tried_again_while_the_session_waits(
    api: World, service: PushService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jelmore.control.webhook_delivery.PUSH_RETRY_AFTER_S", (0.05, 0.05, 3600.0))
    service.statuses = [503, 429, 503]
    async with api.client() as http:
        await http.post(PUSH, json=service.subscription())
        session_id = await asks(api, http)
        await until(lambda: len(service.messages) == 3)
        answer = {"decision": "allow"}
        await http.post(f"/api/v1/sessions/{session_id}/permissions/r1", json=answer)
        assert webhook_rules.retry_in_s(4, webhook_rules.PUSH_RETRY_AFTER_S) is None


async def test_no_notice_of_what_is_waited_for_no_longer(api: World, service: PushService) -> None:
    """Between the event and the call somebody may answer or end it; a late notice would only disturb."""
    async with api.client() as http:
        made = (await http.post(PUSH, json=service.subscription())).json()
        session_id = await asks(api, http)
        await until(lambda: len(service.messages) == 1)
        await http.delete(f"/api/v1/sessions/{session_id}")
        store = api.events.webhook_store
        (subscription,) = await store.active()
        assert str(subscription.id) == made["id"]
        deliveries = await store.deliveries(subscription.id, None, None, 10)
        await store.again(subscription.id, deliveries[0].id)

        async def done() -> bool:
            return (await store.deliveries(subscription.id, None, None, 1))[0].state == "delivered"

        await until(done)
        await asyncio.sleep(0.1)
    assert len(service.messages) == 1


async def test_addresses_and_keys_are_checked_and_browsers_bounded(api: World, service: PushService) -> None:
    good = service.subscription()
    async with api.client() as http, api.client(api.keys[Role.CLIENT]) as other:
        for change, field in (
            ({"endpoint": "https://10.0.0.1/x"}, "endpoint: "),
            ({"endpoint": "http://example.org/x"}, "endpoint: "),
            ({"keys": {**good["keys"], "p256dh": "AAAA"}}, "keys.p256dh"),
            ({"keys": {**good["keys"], "auth": "AAAA"}}, "keys.auth"),
            ({"keys": {**good["keys"], "auth": "A"}}, "keys.auth"),
        ):
            refused = await http.post(PUSH, json={**good, **change})
            assert (refused.status_code, field in refused.text) == (422, True), refused.text
        for number in range(MAX_BROWSERS):
            assert (await http.post(PUSH, json=service.subscription(str(number)))).status_code == 201
        assert (await http.post(PUSH, json=service.subscription("more"))).status_code == 429
        assert (await http.post(PUSH, json=service.subscription("0"))).status_code == 201, "it is known"
        taken = (await other.post(PUSH, json=service.subscription("0"))).json()
        await http.delete(f"{PUSH}/{taken['id']}")  # who signs in next on a browser has its subscription
        assert len(await api.events.webhook_store.active()) == MAX_BROWSERS


async def test_without_a_contact_it_is_off(service: PushService) -> None:
    async with world() as api, api.client() as http:
        assert (await http.get("/api/v1/push")).json() == {"enabled": False, "public_key": None}
        refused = await http.post(PUSH, json=service.subscription())
        assert (refused.status_code, "JELMORE_WEB_PUSH_CONTACT" in refused.text) == (404, True)
