"""Follow a session live over server-sent events."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from jelmore_protocol.events import EventKind
from tests.integration.api.talking import new_session
from tests.integration.api.world import World, world
from tests.support.waiting import until


async def sse(answer: httpx.Response) -> AsyncIterator[tuple[str, str | None, Any]]:
    """Yield (event, id, data)."""
    event: dict[str, str] = {}
    async for line in answer.aiter_lines():
        if line.startswith(":"):
            continue
        if line:
            name, _, value = line.partition(": ")
            event[name] = value
        elif event:
            yield event.get("event", ""), event.get("id"), json.loads(event["data"])
            event = {}


async def take(events: AsyncIterator[tuple[str, str | None, Any]], last: str, seq: int = 0) -> list[tuple[Any, ...]]:
    """Return the events up to the first `last` one (of that seq), without the deltas' and states' data."""
    found: list[tuple[Any, ...]] = []
    async with asyncio.timeout(10):
        async for event in events:
            found.append(event)
            if event[0] == last and (not seq or event[2].get("seq") == seq):
                return found
    raise AssertionError(f"the stream ended: {found}")


async def test_a_stream_replays_continues_live_and_ends_with_the_session(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        runner = await api.runner(session_id)
        await api.stored(session_id, 1)
        async with http.stream("GET", f"{url}/stream", params={"after": 0}) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = sse(answer)
            before = await take(events, "event", 1)
            assert [event[0] for event in before] == ["hello", "state", "event"]
            assert (before[0][2]["resume"], before[0][2]["live"], before[2][1]) == ("ok", True, "1")
            await runner.hint("so")
            delta = await take(events, "delta")
            assert delta[-1][2]["data"] == {"text": "so"}
            async with api.client() as another:
                await another.post(f"{url}/input", json={"input": "hello"})
                live = await take(events, "event", 3)
                assert [event[1] for event in live if event[0] == "event"] == ["2", "3"]
                await another.delete(url)
            rest = await take(events, "end")
            assert rest[-1][2]["status"] == "terminated"
            assert [event[2]["kind"] for event in rest if event[0] == "event"][-1] == "exited"
            assert [event async for event in events] == []


async def test_a_reader_who_comes_back_misses_nothing(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        runner = await api.runner(session_id)
        for number in range(20):
            await runner.say(EventKind.ERROR, {"code": "x", "message": str(number)})
        await api.stored(session_id, 21)
        seen: list[str] = []
        last: dict[str, str] = {}
        for stop in (5, 12, 21):
            async with http.stream(
                "GET", f"/api/v1/sessions/{session_id}/stream", params={"after": "0"}, headers=last
            ) as answer:
                found = await take(sse(answer), "event", stop)
                seen += [event[1] for event in found if event[0] == "event"]
            last = {"Last-Event-ID": seen[-1]}
        assert seen == [str(seq) for seq in range(1, 22)]


async def test_a_reader_ahead_of_the_log_gets_a_gap(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        await api.stored(session_id, 1)
        async with http.stream("GET", f"/api/v1/sessions/{session_id}/stream", params={"after": 99}) as answer:
            found = await take(sse(answer), "event")
    assert (found[0][2]["resume"], found[0][1], found[-1][1]) == ("gap", "0", "1")


async def test_a_bad_last_event_id_is_refused(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        answer = await http.get(f"/api/v1/sessions/{session_id}/stream", headers={"Last-Event-ID": "abc"})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "Last-Event-ID")


async def test_readers_that_leave_leave_nothing_behind(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        for _ in range(5):
            async with http.stream("GET", f"/api/v1/sessions/{session_id}/stream") as answer:
                await take(sse(answer), "state")
        await until(lambda: api.streams.readers() == 0)
        text = (await http.get("/metrics")).text
        assert 'jelmore_open_streams{transport="sse"} 0.0' in text


async def test_a_silent_stream_pings() -> None:
    async with world(ApiConfig(ping_every_s=0.02)) as api, api.client() as http:
        session_id = await new_session(http)
        async with http.stream("GET", f"/api/v1/sessions/{session_id}/stream") as answer, asyncio.timeout(5):
            pings = 0
            async for line in answer.aiter_lines():
                pings += line == ": ping"
                if pings == 3:
                    break


async def test_who_asks_sees_who_has_the_session_open(api: World) -> None:
    """Opt-in, so that older clients get no event that they do not know."""
    async with api.client() as ann, api.client(api.keys[Role.READONLY]) as bob:
        session_id = await new_session(ann)
        url = f"/api/v1/sessions/{session_id}"
        assert (await ann.get(f"{url}/attendance")).json() == {"people": [], "more": 0}
        async with bob.stream("GET", f"{url}/stream") as silent:
            unasked = sse(silent)
            await take(unasked, "state")
            async with ann.stream("GET", f"{url}/stream", params={"attendance": "true"}) as answer:
                events = sse(answer)
                while len((both := (await take(events, "attendance"))[-1][2])["people"]) < 2:
                    pass  # who comes first is announced first
                assert [each["role"] for each in both["people"]] == ["viewer", "owner"]
                assert (await bob.get(f"{url}/attendance")).json()["people"] == both["people"]
                await ann.post(f"{url}/input", json={"input": "hello"})
                assert "attendance" not in {event[0] for event in await take(unasked, "event")}
                await silent.aclose()
                left = (await take(events, "attendance"))[-1][2]
                assert [each["role"] for each in left["people"]] == ["owner"]
    events_of = await api.store.events(UUID(session_id), 0, 100)
    assert all("attendance" not in str(event) for event in events_of), "nothing of it is stored"
