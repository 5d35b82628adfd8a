"""The events of all sessions: as a page, as a live stream, with tickets for browsers and for web pages elsewhere."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from tests.integration.api.world import PUBLIC_URL, World, closed, frame, world
from tests.support.waiting import until

STREAM = "/api/v1/events/stream"


class Sse:
    """A stream of server-sent events: the frames as they come, and the last id as a browser keeps it."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last_id = ""
        self._lines = answer.aiter_lines()

    async def next(self) -> tuple[str, dict[str, Any]]:
        """Return the name and data of the next frame that has data."""
        name, data = "", ""
        async with asyncio.timeout(10):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                if field == "id":
                    self.last_id = value
                elif field == "event":
                    name = value
                elif field == "data":
                    data = value
                elif not line and data:
                    return name, json.loads(data)
        raise AssertionError("the stream ended")


@asynccontextmanager
async def listening(http: httpx.AsyncClient, url: str = STREAM, **headers: str) -> AsyncIterator[Sse]:
    async with http.stream("GET", url, headers=headers) as answer:
        if answer.status_code != 200:
            await answer.aread()
            raise AssertionError(answer.text)
        yield Sse(answer)


async def new_session(http: httpx.AsyncClient, **body: Any) -> str:
    made = await http.post("/api/v1/sessions", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def test_a_stream_reports_every_session_from_its_cursor_on(api: World) -> None:
    async with api.client() as http, listening(http) as sse:
        assert (await sse.next())[1] == {"type": "hello", "seq": 0, "resume": "ok", "oldest": 1, "newest": 0}
        one, two = await new_session(http, user_id="ann"), await new_session(http)
        seen: list[dict[str, Any]] = []
        while {event["session_id"] for event in seen} != {one, two} or seen[-1][
            "event_type"
        ] != "session.state_changed":
            name, event = await sse.next()
            assert name == "event"
            seen.append(event)
        assert [event["position"] for event in seen] == list(range(1, len(seen) + 1))
        assert seen[0]["event_type"] == "session.created"
        assert (seen[0]["session_id"], seen[0]["user_id"], seen[0]["seq"]) == (one, "ann", 1)
        assert sse.last_id == str(len(seen))
        page = (await http.get("/api/v1/events")).json()
        assert page["events"][: len(seen)] == seen
        async with listening(http, **{"Last-Event-ID": "2"}) as again:
            assert (await again.next())[1]["resume"] == "ok"
            assert (await again.next())[1] == seen[2]


async def test_a_key_sees_its_own_sessions_and_an_admin_all(api: World) -> None:
    async with api.client() as admin, api.client(api.other_key) as other:
        theirs = await new_session(admin)
        mine = await new_session(other)
        await until(lambda: api.feed.newest >= 6)
        page = (await other.get("/api/v1/events")).json()
        assert {event["session_id"] for event in page["events"]} == {mine}
        everything = (await admin.get("/api/v1/events")).json()
        assert {event["session_id"] for event in everything["events"]} == {theirs, mine}
        for path in ("/api/v1/events", STREAM):
            assert (await other.get(path, params={"session_id": theirs})).status_code == 404
        async with listening(other, f"{STREAM}?after=0") as sse:
            await sse.next()
            assert (await sse.next())[1]["session_id"] == mine


async def test_filters_take_types_groups_and_the_older_names(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http, user_id="ann")
        await until(lambda: api.feed.newest >= 4)

        async def types(**params: Any) -> list[str]:
            answer = await http.get("/api/v1/events", params=params)
            return [event["event_type"] for event in answer.json()["events"]]

        assert await types(type="session.created") == await types(type="SESSION_CREATED") == ["session.created"]
        assert set(await types(type="session.*")) == {"session.created", "session.started", "session.state_changed"}
        assert await types(type=["command.*", "session.started"]) == ["session.started"]
        assert await types(user_id="bob") == []
        assert len(await types(user_id="ann", session_id=session_id)) == 4
        page = (await http.get("/api/v1/events", params={"limit": 2})).json()
        assert (len(page["events"]), page["next_after"], page["more"]) == (2, 2, True)
        rest = (await http.get("/api/v1/events", params={"after": page["next_after"]})).json()
        assert ([event["position"] for event in rest["events"]], rest["more"]) == ([3, 4], False)
        refused = await http.get("/api/v1/events", params={"type": "session.nonsense"})
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] == "type"
        assert (await http.get(STREAM, headers={"Last-Event-ID": "x"})).status_code == 422


async def test_a_gap_is_reported(api: World) -> None:
    async with api.client() as http:
        await new_session(http)
        await until(lambda: api.feed.newest >= 4)
        await api.event_log.trim(-1)
        session_id = await new_session(http)
        async with listening(http, f"{STREAM}?after=1") as sse:
            _, hello = await sse.next()
            assert (hello["resume"], hello["oldest"]) == ("gap", 5)
            assert (await sse.next())[1]["session_id"] == session_id
        assert (await http.get("/api/v1/events?after=1")).json()["resume"] == "gap"
        assert (await http.get("/api/v1/events?after=4")).json()["resume"] == "ok"
        assert (await http.get("/api/v1/events?after=99")).json()["resume"] == "gap"


async def test_a_revoked_key_ends_its_stream(api: World) -> None:
    async with api.client(api.other_key) as other, listening(other) as sse:
        await sse.next()
        [key] = [key for key in await api.store.keys() if key.name == "another client"]
        await api.store.revoke_key(key.id)
        name, body = await sse.next()
        assert (name, body["code"]) == ("error", "unauthenticated")


async def test_a_ticket_opens_one_stream_once(api: World) -> None:
    async with api.client() as http, api.client("") as nobody:
        session_id = await new_session(http)
        answer = await http.post("/api/v1/tickets")
        assert answer.status_code == 201
        ticket = answer.json()["ticket"]
        async with listening(nobody, f"{STREAM}?after=0&ticket={ticket}") as sse:
            await sse.next()
            assert (await sse.next())[1]["session_id"] == session_id
        assert (await nobody.get(f"{STREAM}?ticket={ticket}")).status_code == 401
        ticket = (await http.post("/api/v1/tickets", json={"session_id": session_id})).json()["ticket"]
        assert (await nobody.get(f"{STREAM}?ticket={ticket}")).status_code == 403
        ticket = (await http.post("/api/v1/tickets", json={"session_id": session_id})).json()["ticket"]
        async with listening(nobody, f"/api/v1/sessions/{session_id}/stream?ticket={ticket}") as sse:
            assert (await sse.next())[1]["type"] == "hello"
        ticket = (await http.post("/api/v1/tickets")).json()["ticket"]
        assert (await nobody.get(f"/api/v1/sessions/{session_id}?ticket={ticket}")).status_code == 401


async def test_a_ticket_ends_with_its_key(api: World) -> None:
    async with api.client(api.other_key) as other, api.client("") as nobody, api.client() as http:
        assert (await http.post("/api/v1/tickets", json={"session_id": "no id"})).status_code == 422
        theirs = await new_session(http)
        assert (await other.post("/api/v1/tickets", json={"session_id": theirs})).status_code == 404
        session_id = await new_session(other)
        tickets = [(await other.post("/api/v1/tickets")).json()["ticket"] for _ in range(3)]
        async with (
            listening(nobody, f"{STREAM}?ticket={tickets[0]}") as events,
            listening(nobody, f"/api/v1/sessions/{session_id}/stream?ticket={tickets[1]}") as output,
        ):
            for sse in (events, output):
                await sse.next()
            [key] = [key for key in await api.store.keys() if key.name == "another client"]
            await api.store.revoke_key(key.id)
            for sse in (events, output):
                name, body = "", dict[str, Any]()
                while name != "error":
                    name, body = await sse.next()
                assert body["code"] == "unauthenticated"
        assert (await nobody.get(f"{STREAM}?ticket={tickets[2]}")).status_code == 401


@pytest.mark.parametrize(("origin", "allowed"), [("https://app.example", True), ("https://evil.example", False)])
async def test_web_pages_of_configured_origins_may_call(origin: str, allowed: bool) -> None:
    config = ApiConfig(public_url=PUBLIC_URL, cors_origins=("https://app.example",))
    asked = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    async with world(config) as api, api.client() as http, api.client("") as nobody:
        preflight = await nobody.options("/api/v1/sessions", headers=asked)
        answer = await http.get("/api/v1/sessions", headers={"Origin": origin})
        refused = await nobody.get("/api/v1/sessions", headers={"Origin": origin})
        async with listening(http, Origin=origin) as sse:
            streamed = sse.answer.headers.get("access-control-allow-origin")
        found = [each.headers.get("access-control-allow-origin") for each in (preflight, answer, refused)]
        assert [*found, streamed] == [origin if allowed else None] * 4
        assert refused.status_code == 401
        if allowed:
            assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
            assert "X-Total-Count" in answer.headers["access-control-expose-headers"]


async def test_without_configured_origins_no_page_may(api: World) -> None:
    async with api.client() as http:
        answer = await http.get("/api/v1/sessions", headers={"Origin": "https://app.example"})
        assert "access-control-allow-origin" not in answer.headers


async def _received(connection: ClientConnection, kind: str) -> dict[str, Any]:
    """Return the next frame of this type."""
    while (found := await frame(connection))["type"] != kind:
        pass
    return found


async def test_the_same_events_over_a_websocket(api: World) -> None:
    async with api.client() as http:
        before = (await http.get("/api/v1/events")).json()["newest"]
        key = {"additional_headers": {"X-API-Key": api.keys[Role.ADMIN]}}
        async with api.connect(f"{STREAM}?after={before}&type=session.created", **key) as connection:
            assert (await frame(connection))["resume"] == "ok"
            made = (await http.post("/api/v1/sessions")).json()
            received = await _received(connection, "event")
            assert (received["event"]["event_type"], received["event"]["session_id"]) == ("session.created", made["id"])
            await connection.send('{"type": "input", "input": "hello", "id": "i"}')
            assert (await _received(connection, "error"))["code"] == "forbidden"
        async with api.connect(f"{STREAM}?after={received['position'] - 1}", **key) as again:
            assert (await _received(again, "event"))["position"] == received["position"]


@pytest.mark.parametrize(
    ("query", "named"),
    [("type=nothing", "type"), ("session_id=x", None), ("user_id=a&user_id=b", "user_id"), ("other=1", "other")],
)
async def test_a_wrong_filter_of_the_websocket_is_named(api: World, query: str, named: str | None) -> None:
    async with api.connect(f"{STREAM}?{query}", additional_headers={"X-API-Key": api.keys[Role.ADMIN]}) as connection:
        if named is not None:
            refused = await _received(connection, "error")
            assert refused["message"].startswith(f"{named}:"), refused
        assert await closed(connection) == (1008 if named else 4404)


async def test_a_token_of_a_session_does_not_open_all_events(api: World) -> None:
    async with api.client() as http:
        token = (await http.post("/api/v1/sessions")).json()["token"]
    async with api.connect(STREAM, additional_headers={"Authorization": f"Bearer {token}"}) as connection:
        assert await closed(connection) in {4401, 4403}
