"""Webhooks from registration to a receiver: signed, tried again, logged, replayed, and seen by their owner only."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from jelmore.control import webhook_delivery, webhook_rules
from jelmore.ports import Role
from jelmore_protocol.events import Pending, WaitingFor
from tests.integration.api.world import World, world
from tests.support.waiting import until
from tests.support.webhook_receiver import Receiver, verify

pytestmark = pytest.mark.integration
HOOKS = "/api/v1/webhooks"
PERMISSION = Pending(request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="run ls", input={})


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as made:
        yield made


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


async def test_a_receiver_gets_every_event_signed_and_once(api: World, receiver: Receiver) -> None:
    async with api.client() as http:
        made = await http.post(HOOKS, json={"url": receiver.url, "events": ["session.*"], "description": "all"})
        assert made.status_code == 201, made.text
        hook = made.json()
        assert made.headers["location"] == f"{HOOKS}/{hook['id']}"
        session_id = (await http.post("/api/v1/sessions")).json()["id"]
        wanted = {"session.created", "session.started", "session.state_changed"}
        await until(lambda: set(receiver.types()) == wanted)
        assert {event["session_id"] for event in receiver.events()} == {session_id}
        assert all(verify(hook["secret"], headers, body) for headers, body in receiver.got)
        assert not verify(webhook_rules.new_secret(), *receiver.got[0])
        shown = (await http.get(f"{HOOKS}/{hook['id']}")).json()
        assert "secret" not in shown
        assert (shown["enabled"], shown["description"]) == (True, "all")

        async def all_delivered() -> bool:
            found = (await http.get(f"{HOOKS}/{hook['id']}/deliveries")).json()
            return [each["state"] for each in found] == ["delivered"] * 3

        await until(all_delivered)
        log = (await http.get(f"{HOOKS}/{hook['id']}/deliveries", params={"limit": 2})).json()
        older = await http.get(f"{HOOKS}/{hook['id']}/deliveries", params={"before": log[-1]["id"]})
        assert (len(log), len(older.json()), log[0]["status"], log[0]["attempts"]) == (2, 1, 204, 1)
        assert {each["id"] for each in (*log, *older.json())} == {headers["webhook-id"] for headers, _ in receiver.got}
        assert len(receiver.got) == 3


async def test_a_session_that_waits_for_me_calls(api: World, receiver: Receiver) -> None:
    async with api.client() as http:
        body = {"url": receiver.url, "events": ["session.state_changed"], "waiting_for": ["permission", "question"]}
        assert (await http.post(HOOKS, json=body)).status_code == 201
        session_id = (await http.post("/api/v1/sessions")).json()["id"]
        await http.post(f"/api/v1/sessions/{session_id}/input", json={"input": "list", "id": "i1"})
        runner = await api.runner(session_id)
        await until(lambda: "i1" in runner.inputs)
        await runner.ask(PERMISSION)
        await until(lambda: bool(receiver.got))
        [event] = receiver.events()
        assert (event["payload"]["to"], event["payload"]["waiting_for"]) == ("waiting_input", "permission")


async def test_what_fails_is_tried_again_and_logged(
    api: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_rules, "RETRY_AFTER_S", (0.05, 0.05))
    receiver.status = 500
    async with api.client() as http:
        hook = (await http.post(HOOKS, json={"url": receiver.url, "events": ["session.created"]})).json()
        await http.post("/api/v1/sessions")
        deliveries = f"{HOOKS}/{hook['id']}/deliveries"

        async def given_up() -> bool:
            return bool((await http.get(deliveries, params={"state": "failed"})).json())

        await until(given_up)
        [failed] = (await http.get(deliveries)).json()
        assert (failed["attempts"], failed["status"], failed["error"]) == (3, 500, "answered 500")
        assert len({headers["webhook-id"] for headers, _ in receiver.got}) == 1
        receiver.status = 200
        again = await http.post(f"{deliveries}/{failed['id']}/replay")
        assert (again.status_code, again.json()) == (202, {"replayed": 1})

        async def delivered() -> bool:
            return bool((await http.get(deliveries)).json()[0]["state"] == "delivered")

        await until(delivered)
        assert len(receiver.got) == 4
        assert (await http.post(f"{HOOKS}/{hook['id']}/replay")).json() == {"replayed": 0}
        assert (await http.post(f"{deliveries}/{hook['id']}/replay")).status_code == 404


async def test_a_receiver_that_is_gone_is_called_no_more(api: World, receiver: Receiver) -> None:
    receiver.status = 410
    async with api.client() as http:
        hook = (await http.post(HOOKS, json={"url": receiver.url, "events": ["session.created"]})).json()

        async def disabled() -> bool:
            return not (await http.get(f"{HOOKS}/{hook['id']}")).json()["enabled"]

        await http.post("/api/v1/sessions")
        await until(disabled)
        await http.post("/api/v1/sessions")
        newest = (await http.get("/api/v1/events")).json()["newest"]

        async def passed_over() -> bool:
            return bool(await api.events.webhook_store.cursor() >= newest)

        await until(passed_over)
        receiver.status = 200
        assert (await http.patch(f"{HOOKS}/{hook['id']}", json={"enabled": True})).json()["enabled"]
        assert (await http.post(f"{HOOKS}/{hook['id']}/replay")).json() == {"replayed": 1}
        await until(lambda: len(receiver.got) == 2)


async def test_a_redirect_is_not_followed(api: World, receiver: Receiver) -> None:
    async with Receiver() as other:
        receiver.status, receiver.location = 307, other.url
        async with api.client() as http:
            hook = (await http.post(HOOKS, json={"url": receiver.url, "events": ["session.created"]})).json()
            await http.post("/api/v1/sessions")

            async def tried() -> bool:
                found = (await http.get(f"{HOOKS}/{hook['id']}/deliveries")).json()
                return bool(found) and found[0]["error"] == "answered 307"

            await until(tried)
        assert not other.got


async def test_a_receiver_that_hangs_delays_no_other(api: World, receiver: Receiver) -> None:
    async with Receiver(hold=asyncio.Event()) as hanging, api.client() as http:
        for url in (hanging.url, receiver.url):
            await http.post(HOOKS, json={"url": url})
        await http.post("/api/v1/sessions")
        await until(lambda: "session.state_changed" in receiver.types())
        assert len(hanging.got) <= webhook_delivery._AT_ONCE_EACH


async def test_everybody_sees_their_own_and_bad_ones_are_refused(api: World, receiver: Receiver) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client, api.client(api.other_key) as other:
        mine = (await client.post(HOOKS, json={"url": receiver.url})).json()
        assert [each["id"] for each in (await client.get(HOOKS)).json()] == [mine["id"]]
        assert (await other.get(HOOKS)).json() == []
        assert [each["id"] for each in (await admin.get(HOOKS)).json()] == [mine["id"]]
        for call in (
            other.get(f"{HOOKS}/{mine['id']}"),
            other.delete(f"{HOOKS}/{mine['id']}"),
            other.post(f"{HOOKS}/{mine['id']}/rotate"),
            other.get(f"{HOOKS}/{mine['id']}/deliveries"),
            other.get(f"{HOOKS}/nonsense"),
        ):
            assert (await call).status_code == 404
        for body, where in (
            ({"url": "https://10.0.0.1/"}, "url"),
            ({"url": "http://example.com/"}, "url"),
            ({"url": receiver.url, "events": ["nonsense"]}, "events"),
            ({"url": receiver.url, "secret": "short"}, "secret"),
            ({"url": receiver.url, "waiting_for": ["tea"]}, "waiting_for.0"),
            ({"url": receiver.url, "other": 1}, "other"),
        ):
            refused = await client.post(HOOKS, json=body)
            assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, where)
        assert (await client.patch(f"{HOOKS}/{mine['id']}", json={"url": "https://127.0.0.2/"})).status_code == 422
        session_id = (await admin.post("/api/v1/sessions")).json()["id"]
        refused = await client.post(HOOKS, json={"url": receiver.url, "session_id": session_id})
        assert refused.status_code == 404
        async with api.client(api.keys[Role.READONLY]) as reader:
            assert (await reader.post(HOOKS, json={"url": receiver.url})).status_code == 403
        await client.post("/api/v1/sessions")
        await until(lambda: bool(receiver.got))
        assert session_id not in {event["session_id"] for event in receiver.events()}
        assert (await client.delete(f"{HOOKS}/{mine['id']}")).status_code == 204
        assert (await client.get(HOOKS)).json() == []


async def test_a_rotated_secret_signs_from_then_on(api: World, receiver: Receiver) -> None:
    async with api.client() as http:
        given = {"url": receiver.url, "secret": "a-secret-of-my-own-choice", "events": ["session.created"]}
        hook = (await http.post(HOOKS, json=given)).json()
        assert hook["secret"] is None
        rotated = (await http.post(f"{HOOKS}/{hook['id']}/rotate")).json()
        await http.post("/api/v1/sessions")
        await until(lambda: bool(receiver.got))
        assert verify(rotated["secret"], *receiver.got[0])


async def test_a_revoked_key_calls_nobody(api: World, receiver: Receiver) -> None:
    async with api.client(api.other_key) as other, api.client() as admin:
        await other.post(HOOKS, json={"url": receiver.url})
        kept = await admin.post(HOOKS, json={"url": receiver.url, "description": "admin's"})
        [key] = [key for key in await api.store.keys() if key.name == "another client"]
        session_id = (await other.post("/api/v1/sessions")).json()["id"]
        await until(lambda: bool(receiver.got))
        await api.store.revoke_key(key.id)
        receiver.got.clear()
        await admin.delete(f"/api/v1/sessions/{session_id}")
        await until(lambda: "session.terminated" in receiver.types())
        assert receiver.types().count("session.terminated") == 1
        assert kept.status_code == 201


async def test_an_expired_key_calls_nobody(api: World, receiver: Receiver) -> None:
    async with api.client() as admin:
        asked = {"name": "of a job", "role": "client", "expires_in_s": 2}
        key = (await admin.post("/api/v1/admin/keys", json=asked)).json()["key"]
        async with api.client(key) as other:
            assert (await other.post(HOOKS, json={"url": receiver.url})).status_code == 201
            session_id = (await other.post("/api/v1/sessions")).json()["id"]
            await until(lambda: bool(receiver.got))

            async def has_expired() -> bool:
                return (await other.get(HOOKS)).status_code == 401

            await until(has_expired)
        await admin.post(HOOKS, json={"url": receiver.url, "description": "admin's"})
        receiver.got.clear()
        await admin.delete(f"/api/v1/sessions/{session_id}")
        await until(lambda: "session.terminated" in receiver.types())
        assert receiver.types().count("session.terminated") == 1


async def test_a_full_queue_is_bounded_and_said(
    api: World, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_delivery, "MAX_WAITING", 2)
    receiver.hold = asyncio.Event()
    async with api.client() as http:
        hook = (await http.post(HOOKS, json={"url": receiver.url})).json()
        await http.post("/api/v1/sessions")
        failed = f"{HOOKS}/{hook['id']}/deliveries?state=failed"

        async def refused() -> bool:
            return bool((await http.get(failed)).json())

        await until(refused)
        [one, *_] = (await http.get(failed)).json()
        assert (one["error"], one["attempts"]) == ("2 deliveries were waiting already", 0)
        receiver.hold.set()
        receiver.hold = None
        assert (await http.post(f"{HOOKS}/{hook['id']}/replay")).json()["replayed"] >= 1
