"""A session's WebSocket as the manager serves it."""

import asyncio
import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from jelmore_protocol.events import EventKind
from jelmore_protocol.tokens import Audience, Claims, Scope, sign
from tests.integration.api.talking import UNKNOWN
from tests.integration.api.world import World, closed, frame, world
from tests.support.waiting import until


async def new_session(api: World) -> tuple[str, str]:
    async with api.client() as http:
        made = (await http.post("/api/v1/sessions")).json()
    await api.stored(made["id"], 1)
    return made["id"], made["token"]


async def frames(connection: ClientConnection, last: str) -> list[dict[str, Any]]:
    found = [await frame(connection)]
    while found[-1]["type"] != last:
        found.append(await frame(connection))
    return found


def bearer(token: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}


def own(session_id: str, **headers: str) -> dict[str, Any]:
    """Return what Caddy adds on a session's own URL."""
    return {"additional_headers": {"X-Jelmore-Session": session_id, **headers}}


async def test_replay_live_output_and_acknowledged_input(api: World) -> None:
    session_id, token = await new_session(api)
    async with api.connect(f"/api/v1/sessions/{session_id}/stream?after=0", **bearer(token)) as connection:
        began = await frames(connection, "event")
        assert [each["type"] for each in began] == ["hello", "state", "event"]
        assert (began[0]["session_id"], began[0]["resume"], began[0]["live"]) == (session_id, "ok", True)
        await connection.send('{"type": "ping", "id": "p"}')
        assert await frame(connection) == {"type": "pong", "id": "p"}
        await connection.send('{"type": "input", "input": "hello", "id": "i1"}')
        after = await frames(connection, "ack")
        while not any(each.get("kind") == "input" for each in after):
            after.append(await frame(connection))
        assert {"type": "ack", "id": "i1", "seq": 2} in after
        runner = await api.runner(session_id)
        await connection.send('{"type": "interrupt", "id": "x"}')
        assert (await frames(connection, "ack"))[-1] == {"type": "ack", "id": "x", "seq": None}
        assert runner.interrupts == 1
        await connection.send('{"type": "permission", "request_id": "r9", "decision": "allow", "id": "a"}')
        refused = (await frames(connection, "error"))[-1]
        assert (refused["code"], refused["id"]) == ("unknown_request", "a")


async def test_it_ends_with_1000_when_the_session_has_ended_and_all_was_sent(api: World) -> None:
    session_id, token = await new_session(api)
    async with api.connect(f"/api/v1/sessions/{session_id}/stream?after=0", **bearer(token)) as connection:
        async with api.client() as http:
            await http.delete(f"/api/v1/sessions/{session_id}")
        seen = await frames(connection, "event")
        while seen[-1].get("kind") != "exited":
            seen.append(await frame(connection))
        assert await closed(connection) == 1000
    path = f"/api/v1/sessions/{session_id}/stream?after=0"
    async with api.connect(path, **bearer(token)) as connection:
        assert await closed(connection) == 4401, "a token ends with its session; the key still reads"
    async with api.connect(path, additional_headers={"X-API-Key": api.keys[Role.ADMIN]}) as connection:
        again = await frames(connection, "event")
        assert again[0]["live"] is False
        assert await closed(connection) == 1000


@pytest.mark.parametrize("way", ["key", "bearer key", "bearer token", "subprotocol", "first message"])
async def test_every_way_to_say_who_one_is(api: World, way: str) -> None:
    session_id, token = await new_session(api)
    key = api.keys[Role.ADMIN]
    more: dict[str, Any] = {
        "key": {"additional_headers": {"X-API-Key": key}},
        "bearer key": bearer(key),
        "bearer token": bearer(token),
        "subprotocol": {"subprotocols": ["jelmore.v1", f"jelmore.token.{token}"]},
        "first message": {"subprotocols": ["jelmore.v1"]},
    }[way]
    async with api.connect(f"/api/v1/sessions/{session_id}/stream", **more) as connection:
        if way == "first message":
            await connection.send(f'{{"type": "auth", "token": "{token}"}}')
        assert (await frame(connection))["type"] == "hello"
        assert connection.subprotocol == ("jelmore.v1" if "subprotocols" in more else None)


@pytest.mark.parametrize(
    ("path", "headers", "first", "code"),
    [
        ("/api/v1/sessions/{id}/stream", {"X-API-Key": "jlm_wrong"}, None, 4401),
        ("/api/v1/sessions/{id}/stream", {}, '{"type": "auth", "token": "wrong"}', 4401),
        ("/api/v1/sessions/{id}/stream", {}, '{"type": "ping"}', 4401),
        ("/api/v1/sessions/{id}/stream", {}, "garbage", 4401),
        ("/api/v1/sessions/{id}/stream", {"X-API-Key": "{other}"}, None, 4404),
        ("/api/v1/sessions/{id}/stream", {"Authorization": "Bearer {foreign}"}, None, 4403),
        (f"/api/v1/sessions/{UNKNOWN}/stream", {"X-API-Key": "{admin}"}, None, 4404),
        ("/api/v1/sessions/nonsense/stream", {"X-API-Key": "{admin}"}, None, 4404),
        ("/ws", {"X-Jelmore-Session": "{id}", "X-API-Key": "{admin}"}, None, 4401),
        ("/ws", {"X-Jelmore-Session": "{id}", "Authorization": "Bearer {foreign}"}, None, 4403),
        ("/ws", {"Authorization": "Bearer {token}"}, None, 4404),
    ],
)
async def test_the_wrong_one_is_sent_away_before_any_data(
    api: World, path: str, headers: dict[str, str], first: str | None, code: int
) -> None:
    session_id, token = await new_session(api)
    _, foreign = await new_session(api)
    names = {
        "{id}": session_id,
        "{token}": token,
        "{foreign}": foreign,
        "{admin}": api.keys[Role.ADMIN],
        "{other}": api.other_key,
    }
    for name, value in names.items():
        path = path.replace(name, value)
        headers = {key: text.replace(name, value) for key, text in headers.items()}
    async with api.connect(path, additional_headers=headers) as connection:
        if first is not None:
            await connection.send(first)
        with pytest.raises(ConnectionClosed) as caught:
            await asyncio.wait_for(connection.recv(), 10)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == code


async def test_who_says_nothing_is_closed_in_time() -> None:
    async with world(ApiConfig(auth_timeout_s=0.05)) as api:
        session_id, _ = await new_session(api)
        async with api.connect(f"/api/v1/sessions/{session_id}/stream") as connection:
            assert await closed(connection) == 4408


async def test_a_reading_token_reads_and_does_not_write(api: World) -> None:
    session_id, _ = await new_session(api)
    async with api.client() as http:
        renewed = await http.post(f"/api/v1/sessions/{session_id}/token", json={"scopes": ["read"]})
    async with api.connect("/ws", **own(session_id, Authorization=f"Bearer {renewed.json()['token']}")) as connection:
        assert (await frames(connection, "state"))[0]["type"] == "hello"
        await connection.send('{"type": "input", "input": "x", "id": "i"}')
        refused = (await frames(connection, "error"))[-1]
        assert (refused["code"], refused["id"]) == ("forbidden", "i")


async def test_bad_frames_are_answered_and_at_last_not_any_more(api: World) -> None:
    session_id, token = await new_session(api)
    async with api.connect(f"/api/v1/sessions/{session_id}/stream", **bearer(token)) as connection:
        await frames(connection, "state")
        for bad in ("garbage", "{}", '{"type": "input"}', '{"type": "dance"}', b"binary"):
            await connection.send(bad)
            assert (await frame(connection))["code"] == "bad_frame"
        await connection.send('{"type": "input", "input": "  ", "id": "e"}')
        assert (await frame(connection))["code"] == "input_empty"
        for _ in range(20):
            await connection.send("garbage")
        assert await closed(connection) == 1008


async def test_deltas_may_be_switched_off(api: World) -> None:
    session_id, token = await new_session(api)
    runner = await api.runner(session_id)
    async with api.connect(f"/api/v1/sessions/{session_id}/stream", **bearer(token)) as connection:
        await frames(connection, "state")
        await runner.hint("one")
        assert (await frame(connection))["data"] == {"text": "one"}
        await connection.send('{"type": "subscribe", "deltas": false}')
        await frames(connection, "ack")
        await runner.hint("two")
        await runner.say(EventKind.ERROR, {"code": "x", "message": "y"})
        assert [each["type"] for each in await frames(connection, "event")] == ["event"]


async def test_a_rotated_token_ends_at_once_with_its_connection(api: World) -> None:
    session_id, token = await new_session(api)
    url = f"/api/v1/sessions/{session_id}"
    async with api.connect(f"{url}/stream", **bearer(token)) as connection:
        await frames(connection, "state")
        async with api.client() as http:
            other = (await http.post(f"{url}/token")).json()["token"]
            reading = {"scopes": ["read"], "rotate": True}
            reader = (await http.post(f"{url}/token", json={"scopes": ["read"]})).json()["token"]
            assert (await http.post(f"{url}/token", json=reading)).status_code == 200
        assert await closed(connection) == 4401
    for old in (token, other, reader):
        async with api.client(old) as http:
            assert (await http.get(url)).status_code == 401


async def test_another_token_ends_no_earlier_one_and_a_rotation_is_for_writers(api: World) -> None:
    session_id, token = await new_session(api)
    url = f"/api/v1/sessions/{session_id}"
    async with api.connect(f"{url}/stream", **bearer(token)) as connection:
        await frames(connection, "state")
        async with api.client() as http:
            answers = [await http.post(f"{url}/token"), await http.post(f"{url}/token", json={"rotate": False})]
        others = [answer.json()["token"] for answer in answers]
        # Claims of the same second are the same token.
        for each in (token, *others):
            async with api.client(each) as bearer_of_it:
                assert (await bearer_of_it.get(url)).status_code == 200
                refused = await bearer_of_it.post(f"{url}/token", json={"rotate": True})
                assert refused.status_code == 403, "a token does not make or end tokens"
        await connection.send('{"type": "ping", "id": "still here"}')
        assert (await frames(connection, "pong"))[-1]["id"] == "still here"
        async with api.client() as http:
            first = (await http.post(f"{url}/token", json={"rotate": True})).json()["token"]
            second = (await http.post(f"{url}/token", json={"rotate": True})).json()["token"]
        assert await closed(connection) == 4401
    for given, status in ((token, 401), (others[0], 401), (others[1], 401), (first, 401), (second, 200)):
        async with api.client(given) as bearer_of_it:
            assert (await bearer_of_it.get(url)).status_code == status
    async with api.client() as http:
        await http.delete(url)
        for body in (None, {"rotate": True}):
            assert (await http.post(f"{url}/token", json=body)).status_code == 409


async def test_a_token_from_before_the_end_does_not_count_after_a_resume(api: World) -> None:
    session_id, token = await new_session(api)
    url = f"/api/v1/sessions/{session_id}"
    async with api.client() as http:
        await http.delete(url)
        assert (await http.post(f"{url}/resume")).status_code == 200
        fresh = (await http.post(f"{url}/token")).json()["token"]
    for given, status in ((token, 401), (fresh, 200)):
        async with api.client(given) as http:
            assert (await http.get(url)).status_code == status


async def test_a_token_that_runs_out_ends_the_connection_and_a_new_one_saves_it(api: World) -> None:
    session_id, _ = await new_session(api)
    path = f"/api/v1/sessions/{session_id}/stream"
    scopes = frozenset({Scope.READ, Scope.WRITE})
    now_s = int(time.time())
    short = sign(Claims(session_id, Audience.SESSION, scopes, "ada", now_s + 2), api.access.signing._private_pem)
    long = sign(Claims(session_id, Audience.SESSION, scopes, "ada", now_s + 600), api.access.signing._private_pem)
    async with api.connect(path, **bearer(short)) as ending, api.connect(path, **bearer(short)) as renewed:
        await frames(renewed, "state")
        await renewed.send(f'{{"type": "auth", "token": "{long}", "id": "n"}}')
        assert (await frames(renewed, "ack"))[-1]["id"] == "n"
        assert await closed(ending) == 4401
        await renewed.send('{"type": "ping"}')
        assert (await frame(renewed))["type"] == "pong"


async def test_a_sleeping_session_is_read_and_resumed_through_its_own_url(api: World) -> None:
    session_id, token = await new_session(api)
    session = next(iter(api.store.sessions.values()))
    await sleep(api, session_id)
    async with api.connect("/ws?after=0", **own(session_id, Authorization=f"Bearer {token}")) as connection:
        hello = await frame(connection)
        assert (hello["live"], hello["state"]) == (False, "idle")
        await connection.send('{"type": "input", "input": "good morning", "id": "i"}')
        seen = await frames(connection, "ack")
        assert seen[-1]["id"] == "i"
        while not any(each.get("kind") == "input" for each in seen):
            seen.append(await frame(connection))
        seqs = [each["seq"] for each in seen if each["type"] == "event"]
        assert seqs == list(range(1, len(seqs) + 1))
    assert api.store.sessions[session.id].generation == 2


async def sleep(api: World, session_id: str) -> None:
    """Let the session rest and then hibernate, as its timers would."""
    key = UUID(session_id)
    timing = replace(api.store.sessions[key].spec.timing, idle_after_s=0.01, hibernate_after_s=0.02, timeout_s=0)
    session = api.store.sessions[key]
    await api.store.save(replace(session, spec=replace(session.spec, timing=timing)), [])
    api.queue.add(key)
    await until(lambda: api.store.sessions[key].presence.value == "hibernated")
    session = api.store.sessions[key]
    awake = replace(session.spec.timing, idle_after_s=0, hibernate_after_s=0)
    await api.store.save(replace(session, spec=replace(session.spec, timing=awake)), [])


async def test_readers_that_leave_leave_nothing_behind(api: World) -> None:
    session_id, token = await new_session(api)
    for _ in range(5):
        async with api.connect(f"/api/v1/sessions/{session_id}/stream", **bearer(token)) as connection:
            await frames(connection, "state")
    await until(lambda: api.streams.readers() == 0)


async def test_a_reader_that_reads_nothing_is_disconnected_and_others_continue() -> None:
    async with world(ApiConfig(send_timeout_s=2)) as api:
        session_id, token = await new_session(api)
        runner = await api.runner(session_id)
        path = f"/api/v1/sessions/{session_id}/stream"
        async with (
            api.connect(path, **bearer(token), max_queue=1) as slow,
            api.connect(path, **bearer(token), max_queue=None, max_size=None) as quick,
        ):
            await until(lambda: api.streams.readers() == 2)
            for _ in range(60):
                await runner.say(EventKind.ERROR, {"code": "x", "message": "y" * 200_000})
            seen = await frames(quick, "event")
            while seen[-1].get("seq") != runner.seq:
                seen.append(await frame(quick))
            await until(lambda: api.streams.readers() == 1)
            assert await closed(slow) == 4429
