"""People around a session: participants, comments, read marks, invites, and the inbox."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from jelmore.ports import Role
from jelmore_protocol.events import EventKind, Pending, WaitingFor
from tests.integration.api.test_events import listening
from tests.integration.api.world import World, closed, frame, world
from tests.support.waiting import until

pytestmark = pytest.mark.integration
PERMISSION = Pending(request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="run ls", input={})


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


async def new_session(http: httpx.AsyncClient, **body: Any) -> str:
    made = await http.post("/api/v1/sessions", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def invited(http: httpx.AsyncClient, session_id: str, **body: Any) -> str:
    answer = await http.post(f"/api/v1/sessions/{session_id}/invites", json=body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["invite"])


async def accepted(http: httpx.AsyncClient, invite: str, name: str = "Ann") -> dict[str, Any]:
    answer = await http.post("/api/v1/invites/accept", json={"invite": invite, "name": name})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def types(http: httpx.AsyncClient, session_id: str) -> list[str]:
    return [event["event_type"] for event in (await http.get(f"/api/v1/sessions/{session_id}/events")).json()]


async def test_an_invited_editor_talks_with_the_agent_and_is_named(api: World) -> None:
    async with api.client() as http, api.client("") as nobody:
        session_id = await new_session(http)
        joined = await accepted(nobody, await invited(http, session_id, role="editor"))
        url = f"/api/v1/sessions/{session_id}"
        async with api.client(joined["credential"]) as ann:
            sent = await ann.post(f"{url}/input", json={"input": "hello", "id": "i1"})
            assert sent.status_code == 202, sent.text
            runner = await api.runner(session_id)
            await until(lambda: "i1" in runner.inputs)
            await api.stored(session_id, await runner.ask(PERMISSION))
            answered = await ann.post(f"{url}/permissions/r1", json={"decision": "allow"})
            assert answered.status_code == 200, answered.text
            assert (await ann.get(f"{url}/messages")).status_code == 200
            token = (await ann.post(f"{url}/token", json={"scopes": ["read"]})).json()["token"]
            async with api.client(token) as by_token:
                assert (await by_token.get(url)).status_code == 200
        people = (await http.get(f"{url}/participants")).json()
        assert [(each["name"], each["role"], each["id"]) for each in people] == [
            ("Ann", "editor", joined["participant"]["id"])
        ]
        assert "participant.joined" in await types(http, session_id)


async def test_a_viewer_reads_and_comments_in_one_session_only(api: World) -> None:
    async with api.client() as http, api.client("") as nobody:
        session_id, other = await new_session(http), await new_session(http)
        joined = await accepted(nobody, await invited(http, session_id))
        url = f"/api/v1/sessions/{session_id}"
        async with api.client(joined["credential"]) as ann:
            assert (await ann.get(url)).status_code == 200
            said = await ann.post(f"{url}/comments", json={"text": "looks good"})
            assert (said.status_code, said.json()["name"]) == (201, "Ann")
            assert (await ann.post(f"{url}/read")).status_code == 200
            async with listening(ann, f"{url}/stream") as sse:
                assert (await sse.next())[1]["type"] == "hello"
            for call in (
                ann.post(f"{url}/input", json={"input": "hello"}),
                ann.post(f"{url}/token", json={"scopes": ["read", "write"]}),
                ann.post(f"{url}/comments", json={"text": "hi", "user": "bob"}),
                ann.post(f"{url}/invites"),
                ann.get(f"/api/v1/sessions/{other}"),
                ann.get("/api/v1/sessions"),
                ann.get("/api/v1/inbox"),
                ann.get("/api/v1/events"),
                ann.delete(url),
            ):
                answer = await call
                assert answer.status_code == 403, (answer.request.url, answer.text)


async def test_a_removed_participant_is_out_at_once(api: World) -> None:
    async with api.client() as http, api.client("") as nobody:
        session_id = await new_session(http)
        joined = await accepted(nobody, await invited(http, session_id, role="editor"))
        url = f"/api/v1/sessions/{session_id}"
        credential = {"X-API-Key": joined["credential"]}
        async with (
            api.client(joined["credential"]) as ann,
            listening(ann, f"{url}/stream") as sse,
            api.connect(f"{url}/stream", additional_headers=credential) as socket,
        ):
            token = (await ann.post(f"{url}/token")).json()["token"]
            await sse.next()
            assert (await frame(socket))["type"] == "hello"
            gone = await http.delete(f"{url}/participants/{joined['participant']['id']}")
            assert gone.status_code == 204
            name, body = "", dict[str, Any]()
            async with asyncio.timeout(2):
                while name != "error":
                    name, body = await sse.next()
            assert body["code"] == "unauthenticated"
            assert await closed(socket) == 4401
            assert (await ann.get(url)).status_code == 401
        async with api.client(token) as by_token:
            assert (await by_token.get(url)).status_code == 401
        assert (await http.delete(f"{url}/participants/{joined['participant']['id']}")).status_code == 404
        assert (await http.get(f"{url}/participants")).json() == []
        assert "participant.left" in await types(http, session_id)


async def test_an_invite_has_a_scope_an_end_and_a_number_of_uses(api: World) -> None:
    async with api.client() as http, api.client("") as nobody, api.client(api.other_key) as other:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}/invites"
        once = await invited(http, session_id)
        await accepted(nobody, once)
        again = await nobody.post("/api/v1/invites/accept", json={"invite": once, "name": "Bob"})
        assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")
        twice = await invited(http, session_id, uses=2, access_for_s=60)
        first = await accepted(nobody, twice)
        assert first["participant"]["expires_at"] is not None
        [left] = (await http.get(url)).json()
        assert (left["uses_left"], left["role"]) == (1, "viewer")
        assert (await http.delete(f"{url}/{left['id']}", params={"people": "1"})).status_code == 204
        assert (await nobody.post("/api/v1/invites/accept", json={"invite": twice, "name": "Bob"})).status_code == 401
        async with api.client(first["credential"]) as ann:
            assert (await ann.get(f"/api/v1/sessions/{session_id}")).status_code == 401
        assert (await http.delete(f"{url}/{left['id']}")).status_code == 404
        assert (await other.post(url)).status_code == 404
        assert (await http.post(url, json={"role": "owner"})).status_code == 422
        assert (await nobody.post("/api/v1/invites/accept", json={"invite": "jli_x"})).status_code == 422


async def test_a_revoked_key_takes_its_invited_people_along(api: World) -> None:
    async with api.client(api.other_key) as other, api.client("") as nobody:
        session_id = await new_session(other)
        joined = await accepted(nobody, await invited(other, session_id))
        invite = await invited(other, session_id)
        [key] = [key for key in await api.store.keys() if key.name == "another client"]
        await api.store.revoke_key(key.id)
        async with api.client(joined["credential"]) as ann:
            assert (await ann.get(f"/api/v1/sessions/{session_id}")).status_code == 401
        assert (await nobody.post("/api/v1/invites/accept", json={"invite": invite, "name": "B"})).status_code == 401


async def test_comments_are_events_in_order_and_counted_for_others(api: World) -> None:
    async with api.client() as http, listening(http, "/api/v1/events/stream?type=comment.posted") as sse:
        await sse.next()
        session_id = await new_session(http, user_id="ann")
        url = f"/api/v1/sessions/{session_id}"
        for text, user in (("one", "ann"), ("two", "bob"), ("three", None)):
            body = {"text": text, **({"user": user} if user else {})}
            assert (await http.post(f"{url}/comments", json=body)).status_code == 201
        found = (await http.get(f"{url}/comments")).json()
        assert [(each["text"], each["name"]) for each in found] == [("one", "ann"), ("two", "bob"), ("three", "admin")]
        assert [
            each["text"] for each in (await http.get(f"{url}/comments", params={"after": found[0]["seq"]})).json()
        ] == [
            "two",
            "three",
        ]
        assert [(await sse.next())[1]["payload"]["text"] for _ in range(3)] == ["one", "two", "three"]
        [entry] = (await http.get("/api/v1/inbox", params={"user": "ann"})).json()
        assert entry["unread"]["comments"] == 2
        [entry] = (await http.get("/api/v1/inbox", params={"user": "bob"})).json()
        assert entry["unread"]["comments"] == 2, "bob takes part since he commented"
        assert (await http.get("/api/v1/inbox", params={"user": "eve"})).json() == []


async def test_read_marks_move_forward_and_are_each_persons_own(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http, user_id="ann")
        url = f"/api/v1/sessions/{session_id}"
        runner = await api.runner(session_id)
        seqs = [await runner.say(EventKind.SAID, {"text": f"answer {n}"}) for n in range(3)]
        await api.stored(session_id, seqs[-1])

        async def unread(user: str | None) -> int:
            params = {"user": user} if user else {}
            return int((await http.get("/api/v1/inbox", params=params)).json()[0]["unread"]["messages"])

        assert (await unread("ann"), await unread(None)) == (3, 3)
        marked = await http.post(f"{url}/read", json={"output_seq": seqs[0], "user": "ann"})
        assert marked.json()["read_output_seq"] == seqs[0]
        assert (await unread("ann"), await unread(None)) == (2, 3)
        assert (await http.post(f"{url}/read", json={"user": "ann"})).json()["read_output_seq"] == seqs[-1]
        back = await http.post(f"{url}/read", json={"output_seq": 1, "user": "ann"})
        assert back.json()["read_output_seq"] == seqs[-1]
        assert (await unread("ann"), await unread(None)) == (0, 3)
        assert (await types(http, session_id)).count("session.read") == 2
        async with api.client(api.keys[Role.READONLY]) as reader:
            assert (await reader.post(f"{url}/read")).status_code == 403
            assert len((await reader.get("/api/v1/inbox")).json()) == 1


async def test_what_waits_for_me_comes_first(api: World) -> None:
    async with api.client() as http, api.client(api.other_key) as other:
        waiting, unread, read = [await new_session(http, user_id="ann") for _ in range(3)]
        runner = await api.runner(waiting)
        await http.post(f"/api/v1/sessions/{waiting}/input", json={"input": "list", "id": "i1"})
        await until(lambda: "i1" in runner.inputs)
        await api.stored(waiting, await runner.ask(PERMISSION))
        await http.post(f"/api/v1/sessions/{unread}/comments", json={"text": "hello", "user": "bob"})
        for session_id in (waiting, read):
            await http.post(f"/api/v1/sessions/{session_id}/read", json={"user": "ann"})
        inbox = (await http.get("/api/v1/inbox", params={"user": "ann"})).json()
        assert [entry["session_id"] for entry in inbox] == [waiting, unread, read]
        assert [entry["waiting_for_me"] for entry in inbox] == [True, False, False]
        assert inbox[0]["waiting_for"] == "permission"
        assert (await other.get("/api/v1/inbox", params={"user": "ann"})).json() == []
