"""A stream ends with the credential that opened it: a token at its expiry, a key when it is revoked."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import pytest_asyncio

from jelmore.api.services import ApiConfig
from jelmore.control import access
from jelmore.ports import ApiKey, Role
from jelmore_protocol.tokens import Audience, Claims, Scope, sign
from tests.integration.api.world import World, closed, frame, world
from tests.support.waiting import until


@pytest_asyncio.fixture
async def attentive() -> AsyncIterator[World]:
    """A manager that asks again soon."""
    async with world(ApiConfig(readmit_every_s=0.1)) as made:
        yield made


async def new_session(api: World, key: str) -> str:
    async with api.client(key) as http:
        return str((await http.post("/api/v1/sessions")).json()["id"])


def token(api: World, session_id: str, seconds: int) -> str:
    claims = Claims(session_id, Audience.SESSION, frozenset({Scope.READ}), "ada", int(time.time()) + seconds)
    return sign(claims, api.access.signing._private_pem)


async def revoke(api: World, key: str) -> None:
    found = await api.store.key_by_digest(access.digest(key))
    assert found is not None
    assert await api.store.revoke_key(found.id)


async def last_event(lines: AsyncIterator[str]) -> tuple[str, str]:
    """Return the name of the last event of a stream and its `code`."""
    last = ("", "")
    async with asyncio.timeout(10):
        async for line in lines:
            if line.startswith("event: "):
                last = (line.removeprefix("event: "), "")
            elif line.startswith("data: "):
                last = (last[0], json.loads(line.removeprefix("data: ")).get("code", ""))
    return last


async def test_an_event_stream_ends_when_its_token_does(attentive: World) -> None:
    session_id = await new_session(attentive, attentive.keys[Role.ADMIN])
    headers = {"Authorization": f"Bearer {token(attentive, session_id, 2)}"}
    async with (
        attentive.client("", **headers) as http,
        http.stream("GET", f"/api/v1/sessions/{session_id}/stream") as answer,
    ):
        assert answer.status_code == 200
        assert await last_event(answer.aiter_lines()) == ("error", "unauthenticated")


async def test_a_revoked_key_ends_all_that_it_and_its_tokens_opened() -> None:
    async with world() as api:
        key = api.keys[Role.CLIENT]
        async with api.client(key) as http:
            made = (await http.post("/api/v1/sessions")).json()
        own = f"/api/v1/sessions/{made['id']}"
        by_key, by_token = {"X-API-Key": key}, {"Authorization": f"Bearer {made['token']}"}
        async with (
            api.client("", **by_key) as http,
            http.stream("GET", f"{own}/stream") as answer,
            api.client("", **by_token) as bearer,
            bearer.stream("GET", f"{own}/stream") as other_answer,
            api.connect(f"{own}/stream", additional_headers=by_key) as connection,
            api.connect(f"{own}/stream", additional_headers=by_token) as other_connection,
        ):
            lines, other_lines = answer.aiter_lines(), other_answer.aiter_lines()
            assert [await anext(each) for each in (lines, other_lines)] == ["event: hello"] * 2
            assert [(await frame(each))["type"] for each in (connection, other_connection)] == ["hello"] * 2
            assert (await bearer.get(own)).status_code == 200
            await revoke(api, key)
            assert [(await each.get(own)).status_code for each in (http, bearer)] == [401, 401]
            for each in (lines, other_lines):
                assert await last_event(each) == ("error", "unauthenticated")
            assert [await closed(each) for each in (connection, other_connection)] == [4401, 4401]
        runner = await api.runner(made["id"])
        await until(lambda: len(runner.revoked) == 1)
        await until(lambda: api.streams.readers() == 0)


async def test_a_token_ends_as_soon_as_its_session_is_deleted(attentive: World) -> None:
    async with attentive.client() as http:
        made = (await http.post("/api/v1/sessions")).json()
        own = f"/api/v1/sessions/{made['id']}"
        async with attentive.client("", Authorization=f"Bearer {made['token']}") as bearer:
            assert (await bearer.get(own)).status_code == 200
            await http.delete(f"{own}?wait=0")
            assert (await bearer.get(own)).status_code == 401


async def test_a_stream_continues_while_its_key_cannot_be_checked(attentive: World) -> None:
    key = attentive.keys[Role.CLIENT]
    session_id = await new_session(attentive, key)
    asked = 0
    known = attentive.store.key_by_digest

    async def counting(digest: str) -> ApiKey | None:
        nonlocal asked
        asked += 1
        return await known(digest)

    path = f"/api/v1/sessions/{session_id}/stream"
    async with attentive.connect(path, additional_headers={"X-API-Key": key}) as connection:
        assert (await frame(connection))["type"] == "hello"
        attentive.store.key_by_digest = counting  # type: ignore[method-assign]
        attentive.store.away = True
        await until(lambda: asked >= 3)
        await connection.send('{"type": "ping", "id": "p"}')
        while (await frame(connection))["type"] != "pong":
            pass
        attentive.store.away = False


async def test_who_may_not_see_the_session_does_not_take_over_its_socket(attentive: World) -> None:
    session_id = await new_session(attentive, attentive.keys[Role.CLIENT])
    headers = {"Authorization": f"Bearer {token(attentive, session_id, 3)}"}
    path = f"/api/v1/sessions/{session_id}/stream"
    async with attentive.connect(path, additional_headers=headers) as connection:
        assert (await frame(connection))["type"] == "hello"
        await connection.send(json.dumps({"type": "auth", "token": attentive.other_key, "id": "a"}))
        while (answer := await frame(connection))["type"] not in {"ack", "error"}:
            pass
        assert (answer["type"], answer["id"], answer.get("code")) == ("error", "a", "forbidden")
        assert await closed(connection) == 4401
