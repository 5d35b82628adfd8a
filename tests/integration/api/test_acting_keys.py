"""Whose credentials and routes a session uses: those of the user that its creator may act for."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from jelmore.ports import Role
from tests.integration.api.test_sign_in import WRITE, Place, place, signed_in
from tests.integration.api.world import World, world

__all__ = ["place"]

pytestmark = pytest.mark.integration

SESSIONS = "/api/v1/sessions"
KEYS = "/api/v1/admin/keys"
MODEL = "/api/v1/credentials/ANTHROPIC_API_KEY"


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


async def made_key(admin: httpx.AsyncClient, **body: Any) -> Any:
    """Make a client key; return it with its text."""
    made = await admin.post(KEYS, json={"name": "k", **body})
    assert made.status_code == 201, made.text
    return made.json()


async def registered_user(api: World, http: httpx.AsyncClient, user_id: str | None, **headers: str) -> str:
    """Create a session for a user; return whose credentials and routes the gateway gives it."""
    body = {"query": "hello"} | ({} if user_id is None else {"user_id": user_id})
    answer = await http.post(SESSIONS, params={"wait": "true"}, json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    (found,) = [each for each in api.gateway.sandboxes.values() if each.session_id == made["id"]]
    assert made["acts_for_user"] is (found.user_id != "")
    assert (await http.delete(f"{SESSIONS}/{made['id']}", params={"wait": "true"}, headers=headers)).status_code < 300
    return found.user_id


async def test_a_key_that_names_a_user_uses_nothing_of_theirs_unless_it_may(api: World) -> None:
    async with api.client() as admin:
        plain, acting, anns = [await made_key(admin, **each) for each in ({}, {"act_as": True}, {"user_id": "ann"})]
        assert await registered_user(api, admin, "ann") == "ann"
    async with api.client(plain["key"]) as http:
        assert await registered_user(api, http, "ann") == ""
    async with api.client(acting["key"]) as http:
        assert await registered_user(api, http, "ann") == "ann"
        assert await registered_user(api, http, None) == ""
    async with api.client(anns["key"]) as http:
        assert await registered_user(api, http, None) == "ann"
        assert await registered_user(api, http, "ann") == "ann"
        refused = await http.post(SESSIONS, json={"user_id": "bob"})
        assert (refused.status_code, "user_id" in refused.text) == (403, True)
        assert (await http.put(MODEL, params={"user_id": "ann"}, json={"value": "sk-ann"})).status_code == 204
        assert (await http.put(MODEL, params={"user_id": "bob"}, json={"value": "sk-bob"})).status_code == 403


async def test_an_admin_grants_acting_to_a_key_and_takes_it_away(api: World) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        plain, anns = await made_key(admin), await made_key(admin, user_id="ann")
        one = f"{KEYS}/{plain['id']}"
        assert (await client.patch(one, json={"act_as": True})).status_code == 403
        assert (await admin.patch(one, json={"act_as": True})).json()["act_as"] is True
        async with api.client(plain["key"]) as http:
            assert await registered_user(api, http, "ann") == "ann"
            assert (await admin.patch(one, json={"act_as": False})).json()["act_as"] is False
            assert await registered_user(api, http, "ann") == ""
        assert (await admin.patch(f"{KEYS}/{anns['id']}", json={"act_as": True})).status_code == 409
        assert (await admin.patch(f"{KEYS}/none", json={"act_as": True})).status_code == 404
        assert (await admin.post(KEYS, json={"name": "x", "user_id": "a", "act_as": True})).status_code == 422


async def test_a_fork_uses_what_its_own_creator_may(api: World) -> None:
    async with api.client() as admin:
        acting = await made_key(admin, act_as=True)
        async with api.client(acting["key"]) as http:
            made = (await http.post(SESSIONS, json={"user_id": "ann"})).json()
            assert made["acts_for_user"] is True
            await admin.patch(f"{KEYS}/{acting['id']}", json={"act_as": False})
            forked = await http.post(f"{SESSIONS}/{made['id']}/fork", json={})
            assert forked.status_code == 201, forked.text
            assert (forked.json()["user_id"], forked.json()["acts_for_user"]) == ("ann", False)


async def test_a_person_who_signed_in_uses_what_is_theirs(place: Place) -> None:
    async with signed_in(place) as browser:
        assert await registered_user(place.api, browser, None, **WRITE) == "ann-1"
