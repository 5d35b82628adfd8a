"""Terminals as the manager serves them: who may, what wakes a session, and what passes."""

import asyncio
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from websockets.asyncio.client import ClientConnection

from jelmore.api.cookies import LOGIN_COOKIE
from jelmore.ports import Role
from jelmore.session.states import Presence
from tests.integration.api.talking import UNKNOWN
from tests.integration.api.test_socket import bearer, new_session, own, sleep
from tests.integration.api.world import World, closed, frame
from tests.support.waiting import until


async def opened(connection: ClientConnection, **fields: Any) -> dict[str, Any]:
    await connection.send(json.dumps({"type": "open", **fields}))
    return await frame(connection)


async def received(connection: ClientConnection) -> bytes:
    async with asyncio.timeout(10):
        content = await connection.recv()
    assert isinstance(content, bytes)
    return content


async def test_bytes_and_frames_pass_in_both_directions(api: World) -> None:
    session_id, token = await new_session(api)
    async with api.connect(f"/api/v1/sessions/{session_id}/terminal", **bearer(token)) as connection:
        assert (await opened(connection, columns=90, command="ls"))["type"] == "opened"
        assert {name: api.terminals.opened[0].get(name) for name in ("type", "columns", "command", "can_write")} == {
            "type": "open",
            "columns": 90,
            "command": "ls",
            "can_write": True,
        }
        await connection.send(b"typed \x00\xff")
        assert await received(connection) == b"TYPED \x00\xff"
        await connection.send('{"type": "ping", "id": "p"}')
        assert (await frame(connection)) == {"type": "pong", "id": "p"}
        await connection.send('{"type": "dance"}')
        assert (await frame(connection))["code"] == "bad_frame"
        await connection.send('{"type": "end"}')
        assert (await frame(connection))["type"] == "exit"
        assert await closed(connection) == 1000
    await until(lambda: api.terminals.links[0].closed)


async def test_the_terminal_of_a_sleeping_session_wakes_it(api: World) -> None:
    session_id, token = await new_session(api)
    await sleep(api, session_id)
    api.terminals.refusals = 3  # its runner is starting
    async with api.connect("/terminal", **own(session_id, Authorization=f"Bearer {token}")) as connection:
        assert (await opened(connection))["type"] == "opened"
        assert api.store.sessions[UUID(session_id)].presence.value == "awake"


async def test_looking_on_wakes_nothing(api: World) -> None:
    session_id, token = await new_session(api)
    await sleep(api, session_id)
    async with api.client() as http:
        renewed = await http.post(f"/api/v1/sessions/{session_id}/token", json={"scopes": ["read"]})
    reading = renewed.json()["token"]
    for given, fields in ((reading, {}), (token, {"watch": True})):
        path = f"/api/v1/sessions/{session_id}/terminal"
        async with api.connect(path, **bearer(given)) as connection:
            assert (await opened(connection, **fields))["code"] == "conflict"
            assert await closed(connection) == 1008
    assert api.store.sessions[UUID(session_id)].presence.value == "hibernated"
    assert api.terminals.opened == []


async def test_a_shell_that_was_left_open_does_not_wake_its_session(api: World) -> None:
    """Its client connects again by itself: after each pause, the session would be awake within a second."""
    session_id, token = await new_session(api)
    await sleep(api, session_id)
    path = f"/api/v1/sessions/{session_id}/terminal"
    async with api.connect(path, **bearer(token)) as connection:
        refused = await opened(connection, instance="i", after=3)
        assert (refused["code"], "hibernated" in refused["message"]) == ("conflict", True)
        assert await closed(connection) == 1008
    session = api.store.sessions[UUID(session_id)]
    assert (session.presence.value, api.terminals.opened) == ("hibernated", [])
    api.store.sessions[UUID(session_id)] = replace(session, presence=Presence.PAUSED)
    async with api.connect(path, **bearer(token)) as connection:
        assert "paused" in (await opened(connection, instance="i", after=3))["message"]


async def test_a_shell_in_use_is_there_while_its_session_is_to_be_paused(api: World) -> None:
    """The record says paused, and the runner continues because somebody types: a broken connection does too."""
    session_id, token = await new_session(api)
    (await api.runner(session_id)).refuses_drain = True
    key = UUID(session_id)
    session = api.store.sessions[key]
    timing = replace(session.spec.timing, idle_after_s=0.01, hibernate_after_s=0)
    await api.store.save(replace(session, spec=replace(session.spec, timing=timing)), [])
    api.queue.add(key)
    await until(lambda: api.store.sessions[key].presence is Presence.PAUSED)
    path = f"/api/v1/sessions/{session_id}/terminal"
    for fields in ({"instance": "i", "after": 3}, {"watch": True}):
        async with api.connect(path, **bearer(token)) as connection:
            assert (await opened(connection, **fields))["type"] == "opened"
    assert api.store.sessions[key].presence is Presence.PAUSED, "it was not resumed for this"


async def test_a_reader_watches_and_types_nothing(api: World) -> None:
    session_id, _ = await new_session(api)
    key = {"additional_headers": {"X-API-Key": api.keys[Role.READONLY]}}
    async with api.connect(f"/api/v1/sessions/{session_id}/terminal", **key) as connection:
        await opened(connection)
        assert (api.terminals.opened[0]["can_write"], api.terminals.opened[0]["watch"]) == (False, True)
        for sent in (b"x", '{"type": "take", "id": "t"}', '{"type": "end"}'):
            await connection.send(sent)
            assert (await frame(connection))["code"] == "forbidden"
    assert api.terminals.links[0].frames == []


async def test_a_page_of_this_site_needs_its_login_only(api: World) -> None:
    session_id, _ = await new_session(api)
    async with api.client(api.keys[Role.ADMIN]) as http:
        login = (await http.post("/api/v1/login")).cookies[LOGIN_COOKIE]
    path, cookie = f"/api/v1/sessions/{session_id}/terminal", {"Cookie": f"{LOGIN_COOKIE}={login}"}
    own_page = {"additional_headers": {**cookie, "Origin": "http://test"}}
    async with api.connect(path, **own_page) as connection:
        assert (await opened(connection))["type"] == "opened"
        await connection.send(b"x")
        assert await received(connection) == b"X"
    other_page = {"additional_headers": {**cookie, "Origin": "http://elsewhere.test"}}
    async with api.connect(path, **other_page) as connection:
        await connection.send('{"type": "open"}')
        assert await closed(connection) == 4401
    async with api.connect(f"/api/v1/sessions/{UNKNOWN}/terminal", **own_page) as connection:
        assert await closed(connection) == 4404
    assert len(api.terminals.opened) == 1


async def test_a_plain_request_is_asked_to_connect_with_a_websocket(api: World) -> None:
    session_id, _ = await new_session(api)
    async with api.client() as http:
        answer = await http.get(f"/api/v1/sessions/{session_id}/terminal")
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert (await http.get(f"/api/v1/sessions/{UNKNOWN}/terminal")).status_code == 404


@pytest.mark.parametrize(
    ("path", "headers", "code"),
    [
        ("/api/v1/sessions/{id}/terminal", {"X-API-Key": "jlm_wrong"}, 4401),
        ("/api/v1/sessions/{id}/terminal", {"X-API-Key": "{other}"}, 4404),
        ("/api/v1/sessions/{id}/terminal", {"Authorization": "Bearer {foreign}"}, 4403),
        ("/api/v1/sessions/nonsense/terminal", {"X-API-Key": "{admin}"}, 4404),
        ("/terminal", {"X-Jelmore-Session": "{id}", "X-API-Key": "{admin}"}, 4401),
        ("/terminal", {"Authorization": "Bearer {token}"}, 4404),
    ],
)
async def test_the_wrong_one_is_sent_away(api: World, path: str, headers: dict[str, str], code: int) -> None:
    session_id, token = await new_session(api)
    _, foreign = await new_session(api)
    names = {"{id}": session_id, "{token}": token, "{foreign}": foreign}
    names |= {"{admin}": api.keys[Role.ADMIN], "{other}": api.other_key}
    for name, value in names.items():
        path = path.replace(name, value)
        headers = {key: text.replace(name, value) for key, text in headers.items()}
    async with api.connect(path, additional_headers=headers) as connection:
        assert await closed(connection) == code
    assert api.terminals.opened == []
