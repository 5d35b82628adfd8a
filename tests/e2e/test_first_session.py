"""A first session as a user has it: made, asked, answered, interrupted, left, found again, ended."""

import asyncio
import json

import httpx
import pytest

from tests.support.stack import Stack
from tests.support.stack_client import (
    SESSIONS,
    Api,
    Frame,
    Talk,
    eventually,
    is_result,
    is_text_delta,
    server_sent,
    talk_to,
    tool_answers,
)
from tests.support.stack_stores import published, rows, stream_entries


async def test_a_permission_is_asked_and_answered_once(api: Api) -> None:
    created = await api.create("demo> run echo hello from $(hostname)")
    session_id = created["id"]
    async with talk_to(created, after=0) as talk:
        waiting = await api.until(session_id, status="waiting_input", waiting_for="permission")
        assert waiting["pending_url"].endswith(f"{SESSIONS}/{session_id}/permissions")
        (pending,) = (await api.get(session_id, "/permissions"))["pending"]
        assert pending["tool"] == "Bash"
        assert pending["input"]["command"] == "echo hello from $(hostname)"
        assert tool_answers(await api.all(session_id, "output")) == []

        answer = await api.post(session_id, f"/permissions/{pending['request_id']}", {"decision": "allow"})
        assert answer.status_code == 200, answer.text
        again = await api.post(session_id, f"/permissions/{pending['request_id']}", {"decision": "allow"})
        assert (again.status_code, again.json()["code"]) == (409, "already_answered")

        await talk.turn()
        assert tool_answers(talk.events) == [f"hello from s-{session_id[:8]}"]
    done = await api.until(session_id, status="waiting_input", waiting_for="prompt")
    assert done["pending_url"] is None
    assert (await api.get(session_id, "/permissions"))["pending"] == []


async def test_201_means_the_websocket_accepts(api: Api) -> None:
    for _ in range(2):
        created = await api.create()
        async with talk_to(created) as talk:
            hello = await talk.frame(lambda frame: frame["type"] == "hello", seconds=5)
            assert hello["session_id"] == created["id"]
            assert hello["resume"] == "ok"
            assert hello["live"] is True


async def test_a_question_is_answered_over_the_websocket(api: Api) -> None:
    created = await api.create("demo> ask Which way? | left | right")
    async with talk_to(created, after=0) as talk:
        question = await talk.frame(lambda frame: frame.get("kind") == "question")
        shown = await api.until(created["id"], status="waiting_input", waiting_for="question")
        assert shown["waiting_for"] == "question"
        request_id = question["data"]["request_id"]
        choice = {"request_id": request_id, "decision": "allow", "answers": {"Which way?": "left"}}
        await talk.send(type="permission", id="a1", **choice)
        acknowledged = await talk.frame(lambda frame: frame.get("id") == "a1")
        assert acknowledged["type"] == "ack"
        await talk.send(type="permission", id="a2", **choice)
        refused = await talk.frame(lambda frame: frame.get("id") == "a2")
        assert (refused["type"], refused["code"]) == ("error", "conflict")
        await talk.turn()
        (answered,) = tool_answers(talk.events)
        assert "left" in answered
        assert "right" not in answered


async def test_a_turn_is_interrupted_in_its_middle(api: Api) -> None:
    created = await api.create("demo> words 500 20")
    async with talk_to(created, after=0) as talk:
        await talk.frame(is_text_delta)
        await talk.send(type="interrupt", id="stop")
        await talk.frame(lambda frame: frame.get("id") == "stop" and frame["type"] == "ack")
        await talk.turn(seconds=8)  # the words alone would take ten
        assert "word500" not in json.dumps(talk.events)
        since = len(talk.frames)
        await talk.send(type="input", input="demo> say still here", id="next")
        await talk.turn(since=since)
        assert "still here" in json.dumps(talk.frames[since:])


async def test_a_reconnected_websocket_gets_exactly_what_it_missed(api: Api) -> None:
    created = await api.create("demo> say one")
    async with talk_to(created, after=0) as talk:
        await talk.turn()
        seen = talk.seqs[-1]
        assert talk.seqs == list(range(1, seen + 1))
    await api.ask(created["id"], "demo> say two")
    newest = (await api.until(created["id"], waiting_for="prompt"))["output_buffer_size"]
    async with talk_to(created, after=seen) as talk:
        hello = await talk.frame(lambda frame: frame["type"] == "hello")
        assert hello["resume"] == "ok"
        await talk.frame(lambda frame: frame["type"] == "event" and frame["seq"] == max(newest, hello["seq"]))
        assert talk.seqs == list(range(seen + 1, talk.seqs[-1] + 1))
        assert talk.frames[0] == hello


async def test_sse_continues_after_the_last_event_id(api: Api) -> None:
    created = await api.create()
    session_id = created["id"]
    await api.ask(session_id, "demo> say one")  # only the end of a turn says that all of it is stored
    whole = await api.all(session_id, "output")
    after = whole[1]["seq"]
    headers = {"Last-Event-ID": str(after)}
    got: list[tuple[str | None, Frame]] = []
    async with (
        asyncio.timeout(30),
        api.http.stream("GET", f"{SESSIONS}/{session_id}/stream", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for event_id, frame in server_sent(answer.aiter_lines()):
            got.append((event_id, frame))
            if frame["type"] == "event" and frame["seq"] == whole[-1]["seq"]:
                break
    assert got[0][1]["type"] == "hello"
    assert [(each, frame) for each, frame in got if frame["type"] == "event"] == [
        (str(frame["seq"]), frame) for frame in whole[2:]
    ]
    assert any(frame["type"] == "state" for _, frame in got)


async def test_the_stream_is_a_websocket_too(api: Api, stack: Stack) -> None:
    created = await api.create()
    session_id = created["id"]
    url = f"{stack.url.replace('http', 'ws', 1)}{SESSIONS}/{session_id}/stream"
    async with talk_to(created, after=0) as own, Talk(url, key=stack.api_key, after=0) as talk:
        await talk.frame(lambda frame: frame["type"] == "hello")
        await talk.send(type="input", input="demo> words 30 20", id="w")
        acknowledged = await talk.frame(lambda frame: frame.get("id") == "w")
        assert acknowledged["type"] == "ack"
        await talk.frame(is_text_delta)
        await talk.frame(lambda frame: frame["type"] == "state" and frame["state"] == "active")
        await own.turn()
        await talk.turn()
        await talk.frame(lambda frame: frame["type"] == "event" and frame["seq"] == own.seqs[-1])
        assert any(is_text_delta(frame) for frame in own.frames)
        assert talk.events[: len(own.events)] == own.events[: len(talk.events)]


async def test_every_store_and_every_reader_has_the_same_numbers(api: Api, stack: Stack) -> None:
    created = await api.create("demo> run echo one\ndemo> say two", allowed_tools=["Bash"])
    session_id = created["id"]
    async with talk_to(created, after=0) as talk:
        await talk.turn()
        await api.delete(session_id)
        assert await talk.closed() == 1000
        direct = talk.events
    assert [event["seq"] for event in direct] == list(range(1, len(direct) + 1))
    assert direct[-1]["kind"] == "exited"
    assert await api.all(session_id, "output") == direct
    assert await stream_entries(stack, session_id) == [(f"{event['seq']}-0", event) for event in direct]
    assert await rows(stack, session_id) == [event["seq"] for event in direct]


async def test_events_on_the_bus_are_those_of_the_api(api: Api, stack: Stack) -> None:
    created = await api.create("demo> say one")
    session_id = created["id"]
    await api.until(session_id, status="waiting_input", waiting_for="prompt")
    await api.delete(session_id)
    stored = await api.all(session_id, "events")
    assert [event["seq"] for event in stored] == list(range(1, len(stored) + 1))
    on_the_bus = await published(stack, session_id, len(stored))
    names = ("event_id", "event_type", "session_id", "timestamp", "payload", "seq", "version", "output_seq")
    assert [{name: event[name] for name in names} for event in on_the_bus] == stored
    for event in on_the_bus:
        kind = event["event_type"].replace(".", "_")
        assert event["subject_of_message"] == f"jelmore.v1.session.{session_id}.{kind}"
        assert event["message_id"] == f"{session_id}:{event['seq']}"
    types = [event["event_type"] for event in stored]
    assert types[0] == "session.created"
    assert types.count("session.started") == types.count("session.terminated") == 1
    assert types.index("command.sent") < types.index("command.executed") < types.index("session.terminated")


async def test_delete_ends_the_websocket_and_may_be_repeated(api: Api, stack: Stack) -> None:
    created = await api.create()
    session_id = created["id"]
    container = stack.container(session_id)
    async with talk_to(created) as talk:
        await talk.frame(lambda frame: frame["type"] == "hello")
        first = await api.http.delete(f"{SESSIONS}/{session_id}", params={"reason": "enough"})
        assert (first.status_code, first.json()["status"], first.json()["end_reason"]) == (200, "terminated", "enough")
        assert await talk.closed() == 1000
        assert talk.events[-1]["kind"] == "exited"
    again = await api.http.delete(f"{SESSIONS}/{session_id}", params={"reason": "another"})
    assert (again.status_code, again.json()) == (200, first.json())

    async def gone() -> bool:
        return container not in stack.containers() and not (stack.run_dir / "routes" / session_id).is_symlink()

    await eventually(gone, what=lambda: "container and route are removed")


@pytest.mark.parametrize("turns", [2])
async def test_many_turns_keep_one_conversation(quick_api: Api, turns: int) -> None:
    created = await quick_api.create("demo> words 200")
    async with talk_to(created, after=0) as talk:
        first = (await talk.turn())["data"]["message"]
    for number in range(turns):
        result = await quick_api.ask(created["id"], f"demo> say turn {number}")
        assert result["result"].endswith(f"turn {number}")
        # The model counts the words that it is sent: those of the first turn are among them.
        assert result["usage"]["input_tokens"] > first["usage"]["input_tokens"] + 200
    assert len([event for event in await quick_api.all(created["id"], "output") if is_result(event)]) == turns + 1


async def test_nobody_gets_in_without_a_key(api: Api, stack: Stack) -> None:
    async with httpx.AsyncClient(base_url=stack.url, trust_env=False) as nobody:
        for method, path in (("GET", SESSIONS), ("POST", SESSIONS), ("POST", "/api/cleanup"), ("GET", "/metrics")):
            answer = await nobody.request(method, path)
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), path
            assert answer.headers["www-authenticate"].startswith("Bearer")
    assert await api.live() == []


async def test_a_changed_permission_mode_reaches_the_agent(api: Api) -> None:
    created = await api.create()
    url = f"{SESSIONS}/{created['id']}"
    changed = await api.http.patch(url, json={"permission_mode": "bypassPermissions"})
    assert changed.status_code == 200, changed.text
    assert changed.json()["permission_mode"] == "bypassPermissions"
    await api.ask(created["id"], "demo> run touch unasked")
    assert not [event for event in await api.all(created["id"], "output") if event["kind"] == "permission_requested"]
    assert (await api.http.patch(url, json={"permission_mode": "default"})).status_code == 200
    async with talk_to(created) as talk:
        await talk.send(type="input", input="demo> run touch asked", id="asked")
        await talk.frame(lambda frame: frame.get("kind") == "permission_requested")


async def test_a_turn_that_the_model_refuses_is_a_failed_command_and_the_session_continues(api: Api) -> None:
    created = await api.create()
    for status in (400, 401):
        await api.post(created["id"], "/input", {"input": f"demo> fail {status}", "id": f"refused-{status}"})
    await api.until(created["id"], waiting_for="prompt", status="waiting_input", seconds=60)

    async def failed() -> list[Frame]:
        events = await api.all(created["id"], "events")
        return [event["payload"] for event in events if event["event_type"] == "command.failed"]

    async def both() -> bool:
        return len(await failed()) == 2

    await eventually(both, seconds=60, what=lambda: "both commands failed")
    assert [payload["input_id"] for payload in await failed()] == ["refused-400", "refused-401"]
    assert "all is well" in str(await api.ask(created["id"], "demo> say all is well"))
