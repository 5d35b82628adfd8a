"""Wrong keys are slowed per client address, on every way in; valid ones are not."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest_asyncio

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from tests.integration.api.world import World, closed, world

SESSIONS = "/api/v1/sessions"
EDGE = {"X-Forwarded-For": "192.0.2.7"}
"""What Caddy adds to the requests of one client."""
BROWSER = {**EDGE, "Host": "localhost"}
PER_MINUTE = 3


@pytest_asyncio.fixture
async def api() -> AsyncIterator[World]:
    async with world(ApiConfig(failures_per_minute=PER_MINUTE)) as made:
        yield made


async def used_up(api: World) -> None:
    """Send as many wrong keys as get an answer of their own."""
    async with api.client("a wrong key", **EDGE) as http:
        for _ in range(PER_MINUTE):
            assert (await http.get(SESSIONS)).status_code == 401


def assert_too_many(refused: httpx.Response) -> None:
    assert (refused.status_code, refused.json()["code"]) == (429, "too_many_failures")
    assert 1 <= int(refused.headers["retry-after"]) <= 21


async def test_wrong_keys_are_slowed_and_valid_ones_are_not(api: World) -> None:
    await used_up(api)
    for wrong in ({"X-API-Key": "another"}, {"Authorization": "Bearer jlp_wrong"}):
        async with api.client("", **wrong, **EDGE) as http:
            for path in (SESSIONS, "/api/v1/me", "/metrics", "/health"):
                assert_too_many(await http.get(path))
            assert_too_many(await http.post("/api/v1/login"))
    async with api.client(**EDGE) as http:
        assert (await http.get(SESSIONS)).status_code == 200
        assert (await http.post("/api/v1/login")).status_code == 200
    async with api.client("another", **{"X-Forwarded-For": "192.0.2.8"}) as http:
        assert (await http.get(SESSIONS)).status_code == 401


async def test_no_credential_and_an_expired_login_are_no_failures(api: World) -> None:
    async with api.client("", **BROWSER) as http:
        for _ in range(PER_MINUTE + 1):
            assert (await http.get(SESSIONS)).status_code == 401
    async with api.client("", **BROWSER, Cookie="jelmore_login=eyJ.x.y") as http:
        for _ in range(PER_MINUTE + 1):
            assert (await http.get(SESSIONS)).status_code == 401


async def test_a_client_cannot_choose_its_address(api: World) -> None:
    for number in range(PER_MINUTE + 1):
        async with api.client("wrong", **{"X-Forwarded-For": f"6.6.6.{number}, 192.0.2.7"}) as http:
            refused = await http.get(SESSIONS)
    assert_too_many(refused)


async def test_wrong_invites_are_slowed(database_url: str) -> None:
    config = ApiConfig(failures_per_minute=PER_MINUTE)
    async with world(config, database_url=database_url) as api, api.client("", **BROWSER) as http:
        answers = [
            await http.post("/api/v1/invites/accept", json={"invite": "jli_" + "x" * 43, "name": "Mallory"})
            for _ in range(PER_MINUTE + 1)
        ]
    assert [answer.status_code for answer in answers[:-1]] == [401] * PER_MINUTE
    assert_too_many(answers[-1])


async def test_wrong_keys_on_a_websocket_are_slowed(api: World) -> None:
    async with api.client() as http:
        session_id = (await http.post(SESSIONS)).json()["id"]
    codes = []
    for _ in range(PER_MINUTE + 1):
        headers = {"X-API-Key": "wrong", **EDGE}
        async with (
            asyncio.timeout(10),
            api.connect(f"{SESSIONS}/{session_id}/stream", additional_headers=headers) as ws,
        ):
            codes.append(await closed(ws))
    assert codes == [*[4401] * PER_MINUTE, 1013]
    headers = {"X-API-Key": api.keys[Role.ADMIN], **EDGE}
    async with asyncio.timeout(10), api.connect(f"{SESSIONS}/{session_id}/stream", additional_headers=headers) as ws:
        assert "hello" in str(await ws.recv())
