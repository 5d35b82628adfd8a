"""Talk with a session over HTTP, and follow it live."""

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from jelmore.api.services import ApiConfig
from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.events import AgentState, EventKind, Pending, WaitingFor
from tests.integration.api.world import PUBLIC_URL, World, world
from tests.support.waiting import until

PERMISSION = Pending(
    request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="run ls", input={"command": "ls"}
)


async def new_session(http: httpx.AsyncClient) -> str:
    made = await http.post("/api/v1/sessions")
    assert made.status_code == 201, made.text
    return str(made.json()["id"])


async def finish_turn(api: World, session_id: str, input_id: str) -> None:
    """Let the agent answer an input."""
    runner = await api.runner(session_id)
    await until(lambda: input_id in runner.inputs)
    result = {
        "type": "result",
        "subtype": "success",
        "result": "done",
        "usage": {"input_tokens": 2, "output_tokens": 3},
    }
    await runner.say(EventKind.MESSAGE, {"message": result, "input_id": input_id})
    await runner.become(AgentState.WAITING_INPUT, WaitingFor.PROMPT)


async def test_an_input_is_accepted_once_under_its_id(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}/input"
        first = await http.post(url, json={"input": "hello", "id": "i1"})
        again = await http.post(url, json={"input": "hello", "id": "i1"})
    assert first.status_code == 202
    accepted = {"session_id": session_id, "input_id": "i1", "seq": 2}
    assert first.json() == again.json() == {**accepted, "result": None, "waiting_for": None, "pending": None}


async def test_what_is_accepted_is_in_the_next_read(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        runner = await api.runner(session_id)
        release = hold_output(api)
        posting = asyncio.create_task(http.post(f"{url}/input", json={"input": "hello", "id": "i1"}))
        await until(lambda: "i1" in runner.inputs)
        release.set()
        accepted = await posting
        shown = (await http.get(url)).json()
        assert shown["output_buffer_size"] >= accepted.json()["seq"]
        await api.stored(session_id, await runner.ask(PERMISSION))
        release = hold_output(api)
        answering = asyncio.create_task(http.post(f"{url}/permissions/r1", json={"decision": "allow"}))
        await until(lambda: "r1" in runner.answered)
        release.set()
        assert (await answering).status_code == 200
        assert (await http.get(f"{url}/permissions")).json()["pending"] == []


def hold_output(api: World) -> asyncio.Event:
    """Make every store of output wait until the event that is returned is set, and a moment longer."""
    release, save = asyncio.Event(), api.store.save

    async def later(session: Session, drafts: Sequence[EventDraft], outputs: Sequence[Output] = ()) -> Session:
        if outputs:
            await release.wait()
            await asyncio.sleep(0.05)
        return await save(session, drafts, outputs)

    api.store.save = later  # type: ignore[method-assign]
    return release


async def test_an_input_is_accepted_though_its_record_lags(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        release = hold_output(api)
        answer = await http.post(f"/api/v1/sessions/{session_id}/input", json={"input": "hello"})
        assert answer.status_code == 202
        release.set()


async def test_waiting_ends_with_the_permission_that_the_agent_asks_for(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        runner = await api.runner(session_id)
        url = f"/api/v1/sessions/{session_id}/input?wait=60"
        posting = asyncio.create_task(http.post(url, json={"input": "hello", "id": "i1"}))
        await until(lambda: "i1" in runner.inputs)
        await runner.ask(PERMISSION)
        answer = await posting
        assert answer.status_code == 202
        body = answer.json()
        assert (body["result"], body["waiting_for"], body["pending"]["request_id"]) == (None, "permission", "r1")
        second = (await http.post(url, json={"input": "and then", "id": "i2"})).json()  # while it is asked already
        assert (second["waiting_for"], second["pending"]["request_id"]) == ("permission", "r1")


async def test_the_singular_answers_an_input_with_200(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        answer = await http.post(f"/api/v1/session/{session_id}/input", json={"input": "hello"})
        assert (answer.status_code, answer.json()["seq"]) == (200, 2)


async def test_the_result_is_waited_for(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        answering = asyncio.create_task(finish_turn(api, session_id, "i1"))
        answer = await http.post(f"/api/v1/sessions/{session_id}/input?wait=8", json={"input": "hello", "id": "i1"})
        await answering
        assert (answer.status_code, answer.json()["result"]["result"]) == (200, "done")
        shown = (await http.get(f"/api/v1/sessions/{session_id}")).json()
        assert shown["usage"]["output_tokens"] == 3
        assert shown["output_buffer_size"] > answer.json()["seq"]


async def test_an_input_of_the_maximum_size_is_accepted_however_it_is_escaped(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url, kind = f"/api/v1/sessions/{session_id}/input", {"Content-Type": "application/json"}
        escaped = json.dumps({"input": "\x01" * MAX_INPUT_BYTES, "id": "i1"})
        answer = await http.post(url, content=escaped, headers=kind)
        assert (answer.status_code, answer.json().get("input_id")) == (202, "i1"), answer.text


async def test_large_bodies_are_bounded_in_values_and_parsed_off_the_event_loop(
    api: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = []
    loads = json.loads

    def noting(body: Any, **options: Any) -> Any:
        if isinstance(body, bytes) and len(body) > 65536:
            threads.append(threading.current_thread())
        return loads(body, **options)

    async with api.client() as http:
        session_id = await new_session(http)
        url, kind = f"/api/v1/sessions/{session_id}/input", {"Content-Type": "application/json"}
        many = json.dumps({"input": "x", "more": [[]] * 100_000})
        answer = await http.post(url, content=many, headers=kind)
        assert (answer.status_code, answer.json()["detail"]) == (422, "the body has more than 100000 values")
        broken = await http.post(url, content='{"input": "' + "x" * 100_000, headers=kind)
        assert (broken.status_code, broken.json()["code"]) == (422, "invalid")
        assert "not valid JSON" in broken.text
        monkeypatch.setattr(json, "loads", noting)
        assert (await http.post(url, json={"input": "x" * 100_000})).status_code == 202
    assert threads
    assert threading.main_thread() not in threads


async def test_the_result_of_any_agent_is_waited_for(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        posting = asyncio.create_task(http.post(f"{url}/input?wait=8", json={"input": "hello", "id": "i1"}))
        runner = await api.runner(session_id)
        await until(lambda: "i1" in runner.inputs)
        about = {"input_id": "i1", "parent_tool_use_id": None}
        await runner.say(EventKind.MESSAGE, {"message": {"any": "format"}, "input_id": "i1", "neutral": True})
        await runner.say(EventKind.SAID, {"role": "assistant", "thinking": False, "text": "hello too", **about})
        ended = {"input_id": "i1", "outcome": "failed", "text": "no", "usage": {"output_tokens": 3}, "cost_usd": 0.5}
        await runner.say(EventKind.TURN_ENDED, ended)
        answer = await posting
        assert answer.status_code == 200
        assert answer.json()["result"] == {**ended, "type": "result", "is_error": True, "result": "no"}
        messages = (await http.get(f"{url}/messages")).json()
        assert [message["text"] for message in messages] == ["hello", "hello too"]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"input": ""}, 422), ({"input": "  "}, 422), ({}, 422), ({"input": 1}, 422), ({"input": "x" * 1048577}, 413)],
)
async def test_a_bad_input_is_refused(api: World, body: dict[str, Any], status: int) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        answer = await http.post(f"/api/v1/sessions/{session_id}/input", json=body)
    assert answer.status_code == status


async def test_an_input_to_an_ended_session_is_a_conflict_and_400_for_the_singular(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        await http.delete(f"/api/v1/sessions/{session_id}")
        for mount, status in [("/api/v1/sessions", 409), ("/api/sessions", 409), ("/api/v1/session", 400)]:
            answer = await http.post(f"{mount}/{session_id}/input", json={"input": "x"})
            assert (answer.status_code, answer.json()["code"]) == (status, "session_ended")


async def test_interrupt_reaches_the_runner(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        answer = await http.post(f"/api/v1/sessions/{session_id}/interrupt")
    assert answer.status_code == 202
    assert (await api.runner(session_id)).interrupts == 1


async def test_a_permission_is_shown_and_answered_once(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        runner = await api.runner(session_id)
        await api.stored(session_id, await runner.ask(PERMISSION))
        assert (await http.get(url)).json()["waiting_for"] == "permission"
        pending = (await http.get(f"{url}/permissions")).json()["pending"]
        assert [(each["request_id"], each["tool"]) for each in pending] == [("r1", "Bash")]
        assert (await http.post(f"{url}/permissions/r1", json={"decision": "perhaps"})).status_code == 422
        answer = await http.post(
            f"{url}/permissions/r1", json={"decision": "allow", "updated_input": {"command": "pwd"}}
        )
        assert answer.status_code == 200, answer.text
        second = await http.post(f"{url}/permissions/r1", json={"decision": "deny"})
        assert (second.status_code, second.json()["code"]) == (409, "already_answered")
        nobody = await http.post(f"{url}/permissions/r2", json={"decision": "deny"})
        assert (nobody.status_code, nobody.json()["code"]) == (404, "unknown_request")
        await api.stored(session_id, answer.json()["seq"])
        assert (await http.get(f"{url}/permissions")).json()["pending"] == []


async def test_output_events_and_messages_are_paged_by_number(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        await http.post(f"{url}/input", json={"input": "hello", "id": "i1"})
        await finish_turn(api, session_id, "i1")
        runner = await api.runner(session_id)
        await api.stored(session_id, runner.seq)
        for kind in ("output", "events"):
            every = (await http.get(f"{url}/{kind}")).json()
            assert [each["seq"] for each in every] == list(range(1, len(every) + 1))
            seen: list[int] = []
            link = f"{url}/{kind}?limit=2"
            while link:
                page = await http.get(link)
                seen += [each["seq"] for each in page.json()]
                link = page.links.get("next", {}).get("url", "").removeprefix(PUBLIC_URL)
            assert seen == [each["seq"] for each in every]
        inputs = (await http.get(f"{url}/output", params={"kind": "input"})).json()
        assert [each["data"]["input"] for each in inputs] == ["hello"]
        sent = (await http.get(f"{url}/events", params={"type": "command.sent"})).json()
        assert [each["payload"]["input"] for each in sent] == ["hello"]
        messages = (await http.get(f"{url}/messages")).json()
        assert [(each["role"], each["text"]) for each in messages] == [("user", "hello")]
        assert (await http.get(f"{url}/output", params={"kind": "gossip"})).status_code == 422
        assert (await http.get(f"{url}/output", params={"after": "-1"})).status_code == 422


async def test_heavy_pages_are_cut_and_lead_on(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        runner = await api.runner(session_id)
        for _ in range(6):
            block = {"type": "text", "text": "x" * 900_000}
            message = {"type": "assistant", "message": {"role": "assistant", "content": [block]}}
            await runner.say(EventKind.MESSAGE, {"message": message, "input_id": None})
        await api.stored(session_id, runner.seq)
        for what in ("output", "messages"):
            seen: list[int] = []
            link = f"{url}/{what}?limit=1000"
            while link:
                page = await http.get(link)
                assert len(page.content) < 5_000_000  # of 2 MiB of lines: a message shows its text twice
                assert page.json()
                seen += [each["seq"] for each in page.json()]
                link = page.links.get("next", {}).get("url", "").removeprefix(PUBLIC_URL)
            assert seen == list(range(2 if what == "messages" else 1, runner.seq + 1))


async def test_logs_and_health_of_a_session(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        api.engine.logs[next(iter(api.store.sessions))] = ("one", "two")
        logs = await http.get(f"/api/v1/sessions/{session_id}/logs", params={"lines": 1})
        assert logs.json() == {"session_id": session_id, "lines": ["two"]}
        health = (await http.get(f"/api/v1/sessions/{session_id}/health")).json()
        assert (health["status"], health["checks"]) == ("healthy", [])


# --- server-sent events


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


async def test_a_stream_replays_goes_on_live_and_ends_with_the_session(api: World) -> None:
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


async def test_who_knows_more_than_there_is_is_told_of_the_gap(api: World) -> None:
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
