"""Talk with a session over HTTP, and read what was said."""

import asyncio
import json
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from jelmore.session.events import EventDraft
from jelmore.session.output import Output
from jelmore.session.record import Session
from jelmore_protocol import MAX_INPUT_BYTES
from jelmore_protocol.events import EventKind
from tests.integration.api.talking import PERMISSION, finish_turn, new_session
from tests.integration.api.world import PUBLIC_URL, World
from tests.support.waiting import until


async def test_an_input_is_accepted_once_under_its_id(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}/input"
        first = await http.post(url, json={"input": "hello", "id": "i1"})
        again = await http.post(url, json={"input": "hello", "id": "i1"})
    assert first.status_code == 202
    accepted = {"session_id": session_id, "input_id": "i1", "seq": 2}
    nothing: dict[str, object] = {"result": None, "waiting_for": None, "pending": None}
    assert first.json() == again.json() == {**accepted, "waking": False, **nothing}


async def test_what_is_accepted_is_in_the_next_read(api: World) -> None:
    async with api.client() as http:
        session_id = await new_session(http)
        url = f"/api/v1/sessions/{session_id}"
        runner = await api.runner(session_id)
        release = hold_output(api)
        posting = asyncio.create_task(http.post(f"{url}/input", json={"input": "hello", "id": "i1"}), name="posting")
        await until(lambda: "i1" in runner.inputs)
        release.set()
        accepted = await posting
        shown = (await http.get(url)).json()
        assert shown["output_buffer_size"] >= accepted.json()["seq"]
        await api.stored(session_id, await runner.ask(PERMISSION))
        release = hold_output(api)
        answering = asyncio.create_task(
            http.post(f"{url}/permissions/r1", json={"decision": "allow"}), name="answering"
        )
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
        posting = asyncio.create_task(http.post(url, json={"input": "hello", "id": "i1"}), name="posting")
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
        answering = asyncio.create_task(finish_turn(api, session_id, "i1"), name="answering")
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
        posting = asyncio.create_task(
            http.post(f"{url}/input?wait=8", json={"input": "hello", "id": "i1"}), name="posting"
        )
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
        assert (await http.get(f"{url}/events", params={"type": "COMMAND_SENT"})).json() == sent
        group = await http.get(f"{url}/events", params={"type": "session.*", "limit": "1"})
        assert [each["event_type"] for each in group.json()] == ["session.created"]
        rest = (await http.get(group.links["next"]["url"].removeprefix(PUBLIC_URL))).json()
        assert {each["event_type"].partition(".")[0] for each in rest} == {"session"}
        unknown = await http.get(f"{url}/events", params={"type": "gossip"})
        assert (unknown.status_code, unknown.json()["errors"][0]["field"]) == (422, "type")
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
