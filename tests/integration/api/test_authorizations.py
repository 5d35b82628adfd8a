"""Who may let the gateway use a server in whose name, and that only they can finish it."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from jelmore.ports import Role
from tests.integration.api.test_acting_keys import made_key
from tests.integration.api.test_sign_in import Place, place, signed_in
from tests.integration.api.world import World, world

__all__ = ["place"]

pytestmark = pytest.mark.integration

BASE = "/api/v1/authorizations"
BROWSER = {"X-Jelmore-Browser": "1"}


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


async def routed(admin: httpx.AsyncClient, **more: Any) -> None:
    body = {"url": "https://docs.example/mcp", "credential": "docs", **more}
    assert (await admin.put("/api/v1/admin/routes/mcp/docs", json=body)).status_code == 200


async def started(http: httpx.AsyncClient, status: int = 200, **params: str) -> str:
    """Begin; return the query that the browser comes back with."""
    answer = await http.post(BASE, json={"route": "mcp/docs"}, params=params, headers=BROWSER)
    assert answer.status_code == status, answer.text
    return (
        f"code=c1&iss=https%3A%2F%2Fauth.example&state={httpx.URL(answer.json()['url']).params['state']}"
        if status == 200
        else ""
    )


async def test_only_who_began_can_finish_and_once(api: World) -> None:
    async with api.client() as admin:
        await routed(admin, oauth={"issuer": "https://auth.example", "client_id": "me", "scopes": ["read"]})
        anns, bobs = await made_key(admin, user_id="ann"), await made_key(admin, user_id="bob")
        async with api.client(anns["key"]) as ann, api.client(bobs["key"]) as bob:
            back = f"https://x.example/callback?{await started(ann)}"
            finish = f"{BASE}/finish"
            assert (await bob.post(finish, json={"address": back})).status_code == 404
            assert (
                await ann.post(finish, json={"address": "https://x.example/?error=access_denied"})
            ).status_code == 422
            done = await ann.post(finish, json={"address": back})
            assert (done.status_code, done.json()["owner"], done.json()["scope"]) == (200, "ann", "user")
            assert (await ann.post(finish, json={"address": back})).status_code == 404
            refused = await ann.post(
                finish, json={"address": f"https://x.example/?{await started(ann)}".replace("c1", "refused")}
            )
            assert (refused.status_code, "invalid_grant" in refused.text) == (409, True)
            state = httpx.QueryParams(await started(ann))["state"]
            for name, given in (("code", {"code": "c" * 8001}), ("iss", {"code": "c1", "iss": "i" * 2001})):
                long = await ann.post(
                    finish, json={"address": f"https://x.example/?{httpx.QueryParams({**given, 'state': state})}"}
                )
                assert (long.status_code, name in long.text) == (422, True), long.text
        (kept,) = (await admin.get("/api/v1/credentials")).json()
        assert (kept["name"], kept["owner"], kept["kind"]) == ("docs", "ann", "oauth")
        assert (await admin.delete("/api/v1/credentials/docs", params={"user_id": "ann"})).status_code == 204
        assert [each.owner for each in api.gateway.ended] == ["ann"]


async def test_who_may_begin_for_whom(api: World) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        await routed(admin, users=["ann"])
        anns, bobs = await made_key(admin, user_id="ann"), await made_key(admin, user_id="bob")
        await started(client, 403)
        await started(client, 403, user_id="ann")
        async with api.client(anns["key"]) as ann, api.client(bobs["key"]) as bob:
            await started(ann, 403, user_id="bob")
            await started(bob, 404)  # the route is not for this user
            for _ in range(18):
                await started(ann)
            api.gateway.away = True  # what fails counts: a server may have registered a client before
            for _ in range(2):
                await started(ann, 503)
            api.gateway.away = False
            before = api.gateway.started
            await started(ann, 409)
            assert api.gateway.started == before  # no server was asked
        await started(admin)
        await routed(admin, credential="")
        await started(admin, 422)
        await routed(admin, credential="ANTHROPIC_API_KEY")
        await started(admin, 422)
        api.gateway.away = True
        await routed(admin)
        await started(admin, 503)


async def test_routes_that_can_be_authorized_are_listed_for_who_may(api: World) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as client:
        await routed(admin, users=["ann"])
        for name, body in (("mcp/open", {}), ("git/team", {"credential": "team"})):
            route = {"url": "https://open.example/x", **body}
            assert (await admin.put(f"/api/v1/admin/routes/{name}", json=route)).status_code == 200
        anns, bobs = await made_key(admin, user_id="ann"), await made_key(admin, user_id="bob")
        assert (await client.get(BASE)).status_code == 403
        async with api.client(anns["key"]) as ann, api.client(bobs["key"]) as bob:
            nothing = {"kind": None, "changed_at": None, "problem": ""}
            offered = {"route": "mcp/docs", "host": "docs.example", "credential": "docs"}
            assert (await ann.get(BASE)).json() == [{**offered, "scope": "user", **nothing}]
            assert (await bob.get(BASE)).json() == []
            assert (await admin.get(BASE)).json() == [{**offered, "scope": "deployment", **nothing}]
            back = f"https://x.example/callback?{await started(ann)}"
            assert (await ann.post(f"{BASE}/finish", json={"address": back})).status_code == 200
            (kept,) = (await ann.get(BASE)).json()
            assert kept["kind"] == "oauth"
            assert kept["changed_at"]
            assert (await admin.get(BASE)).json()[0]["kind"] is None


async def test_a_browser_comes_back_and_must_be_signed_in_as_who_began(place: Place) -> None:
    async with place.api.client() as admin, place.browser() as stranger, signed_in(place) as browser:
        await routed(admin)
        back = await started(browser)
        path = f"{BASE}/callback?{back}"
        first = await browser.get(path)
        assert 'http-equiv="refresh"' in first.text
        assert first.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in first.headers["content-security-policy"]
        assert "not signed in" in (await stranger.get(f"{path}&here=1")).text
        done = await browser.get(f"{path}&here=1")
        assert "Authorized" in done.text
        assert "c1" not in done.text
        assert "Nothing was stored" in (await browser.get(f"{path}&here=1")).text
        admins = await started(admin)
        assert "Nothing was stored" in (await browser.get(f"{BASE}/callback?{admins}&here=1")).text
        assert "not given" in (await browser.get(f"{BASE}/callback?error=access_denied&state=x")).text
        assert [each.whose.owner for each in place.api.gateway.authorized] == ["ann-1"]
