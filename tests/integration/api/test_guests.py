"""Guests: what a browser may do that opened a link to one session, and how it ends."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from jelmore.api.auth import PARTICIPANT_SCOPES
from jelmore.api.cookies import BROWSER_HEADER, GUEST, GUEST_COOKIE, LOGIN_COOKIE
from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from jelmore_protocol.events import Pending, WaitingFor
from tests.integration.api.test_people import invited, new_session
from tests.integration.api.world import World, world

pytestmark = pytest.mark.integration
OPEN = "/api/v1/invites/open"
AS_GUEST = {BROWSER_HEADER: GUEST}
PERMISSION = Pending(request_id="r1", waiting_for=WaitingFor.PERMISSION, tool="Bash", title="run ls", input={})


@pytest_asyncio.fixture
async def api(database_url: str) -> AsyncIterator[World]:
    async with world(database_url=database_url) as made:
        yield made


@contextlib.asynccontextmanager
async def guest(api: World, session_id: str, role: str, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Yield the browser of somebody who opened a link."""
    async with api.client() as owner:
        invite = await invited(owner, session_id, role=role, **more)
    async with api.client("", **AS_GUEST) as browser:
        answer = await browser.post(OPEN, json={"invite": invite, "name": "Ann"})
        assert answer.status_code == 201, answer.text
        assert "jlp_" not in answer.text
        yield browser


async def asked(api: World, session_id: str) -> None:
    """Let the session wait for a permission."""
    runner = await api.runner(session_id)
    await api.stored(session_id, await runner.ask(PERMISSION))


async def test_the_cookie_is_for_one_session_and_out_of_reach_of_scripts(api: World) -> None:
    async with api.client() as owner, api.client("", **AS_GUEST) as browser:
        session_id = await new_session(owner)
        invite = await invited(owner, session_id, expires_in_s=3600, access_for_s=3600)
        answer = await browser.post(OPEN, json={"invite": invite, "name": "Ann"})
        cookie = answer.headers["set-cookie"].lower()
        assert all(each in cookie for each in ("httponly", "samesite=strict", f"path=/api/v1/sessions/{session_id}"))
        assert 3500 < int(cookie.partition("max-age=")[2].partition(";")[0]) <= 3600
        me = (await browser.get(f"/api/v1/sessions/{session_id}/participants/me")).json()
        assert (me["name"], me["role"], me["session_id"]) == ("Ann", "viewer", session_id)


@pytest.mark.parametrize(
    ("role", "may_answer", "may_write"),
    [("viewer", False, False), ("approver", True, False), ("editor", True, True)],
)
async def test_a_guest_may_what_the_link_says_and_no_more(
    api: World, role: str, may_answer: bool, may_write: bool
) -> None:
    async with api.client() as owner:
        session_id, other = await new_session(owner), await new_session(owner)
    url = f"/api/v1/sessions/{session_id}"
    async with guest(api, session_id, role) as browser:
        assert (await browser.get(url)).status_code == 200
        await asked(api, session_id)
        assert (await browser.get(f"{url}/permissions")).json()["pending"][0]["request_id"] == "r1"
        for method, path, body in (
            ("POST", "/input", {"input": "hello"}),
            ("POST", "/interrupt", None),
        ):
            answer = await browser.request(method, url + path, json=body)
            assert (answer.status_code < 300) is may_write, answer.text
            assert may_write or answer.status_code == 403
        for change in (
            {"decision": "allow", "updated_input": {"command": "rm -rf /"}},
            {"decision": "allow", "updated_permissions": [{"type": "setMode", "mode": "bypassPermissions"}]},
            {"decision": "deny", "interrupt": True},
        ):
            if not may_write:
                assert (await browser.post(f"{url}/permissions/r1", json=change)).status_code == 403, change
        answered = await browser.post(f"{url}/permissions/r1", json={"decision": "allow"})
        assert (answered.status_code == 200) is may_answer, answered.text
        token = await browser.post(f"{url}/token", json={"scopes": ["read", "write"]})
        assert (token.status_code == 200) is may_write, token.text
        refused = [
            await browser.get(path) for path in ("/api/v1/sessions", "/api/v1/me", "/api/v1/inbox", "/api/v1/usage")
        ]
        refused += [
            await browser.get(f"/api/v1/sessions/{other}{path}") for path in ("", "/stream?guest=true", "/output")
        ]
        refused += [
            await browser.get(url + path) for path in ("/files", "/diff", "/invites", "/ports", "/mcp", "/usage")
        ]
        refused += [await browser.patch(url, json={"title": "mine"}), await browser.delete(url)]
        refused += [await browser.post(url + path, json={}) for path in ("/invites", "/tickets", "/fork", "/resume")]
        refused += [await browser.delete(f"{url}/participants/someone")]
        assert {each.status_code for each in refused} <= {401, 403, 404, 405}, [
            (each.request.url, each.status_code) for each in refused
        ]


async def test_every_operation_of_a_guest_is_one_of_a_participant(api: World) -> None:
    """A new operation is closed to guests until somebody lists it."""
    document = api.app.openapi()
    async with api.client() as owner:
        session_id = await new_session(owner)
    async with guest(api, session_id, "editor") as browser:
        for path, methods in document["paths"].items():
            for method, described in methods.items():
                name = described["operationId"]
                if (
                    name in PARTICIPANT_SCOPES
                    or "{" in path.replace("{session_id}", "")
                    or not path.startswith("/api/v1/")
                ):
                    continue
                if (
                    name in {"health", "get_login_methods", "accept_invite", "open_invite", "logout"}
                    or "sign_in" in name
                    or name == "return_from_authorization"  # a page, which says that nothing was stored
                ):
                    continue
                answer = await browser.request(method.upper(), path.replace("{session_id}", session_id))
                assert answer.status_code in {401, 403}, (name, answer.status_code, answer.text)


async def test_a_guests_page_never_has_the_rights_of_the_login_in_the_same_browser(api: World) -> None:
    async with api.client() as owner:
        session_id, other = await new_session(owner), await new_session(owner)
        login = await owner.post("/api/v1/login")
    url = f"/api/v1/sessions/{session_id}"
    async with guest(api, session_id, "viewer") as browser:
        browser.cookies.set(LOGIN_COOKIE, login.cookies[LOGIN_COOKIE])
        assert (await browser.get(url)).status_code == 200
        assert (await browser.post(f"{url}/input", json={"input": "x"})).status_code == 403
        assert (await browser.get(f"/api/v1/sessions/{other}")).status_code == 401
        assert (await browser.get(f"/api/v1/sessions/{other}/stream?guest=true")).status_code == 401
        mine = {BROWSER_HEADER: "1"}  # and the owner's own page keeps the owner's rights
        assert (await browser.get(f"{url}/stream?guest=1", headers=mine)).status_code == 422
        assert (await browser.post(f"{url}/input", json={"input": "x"}, headers=mine)).status_code == 202


@pytest.mark.parametrize("headers", [{}, {**AS_GUEST, "Origin": "https://elsewhere.test"}])
async def test_another_site_can_neither_open_an_invite_nor_use_one(api: World, headers: dict[str, str]) -> None:
    async with api.client() as owner:
        session_id = await new_session(owner)
        invite = await invited(owner, session_id, role="editor", uses=2)
        async with api.client("", **headers) as browser:
            assert (await browser.post(OPEN, json={"invite": invite, "name": "x"})).status_code == 403
    async with guest(api, session_id, "editor") as browser:
        path = f"/api/v1/sessions/{session_id}/input"
        async with api.client("", **headers) as site:
            site.cookies.set(GUEST_COOKIE, browser.cookies[GUEST_COOKIE])
            assert (await site.post(path, json={"input": "x"})).status_code == 401


async def test_a_cookie_holds_no_key(api: World) -> None:
    async with api.client() as owner, api.client("", **AS_GUEST) as browser:
        session_id = await new_session(owner)
        browser.cookies.set(GUEST_COOKIE, api.keys[Role.ADMIN])
        assert (await browser.get(f"/api/v1/sessions/{session_id}")).status_code == 401


async def test_a_guests_token_ends_with_the_key_of_who_invited_them(api: World) -> None:
    async with api.client() as admin, api.client(api.keys[Role.CLIENT]) as owner, api.client("") as program:
        session_id = await new_session(owner)
        url = f"/api/v1/sessions/{session_id}"
        invite = await invited(owner, session_id, role="editor")
        async with api.client("", **AS_GUEST) as browser:
            assert (await browser.post(OPEN, json={"invite": invite, "name": "Ann"})).status_code == 201
            made = (await browser.post(f"{url}/token", json={"scopes": ["read", "write"]})).json()
        headers = {"Authorization": f"Bearer {made['token']}"}
        assert (await program.get(url, headers=headers)).status_code == 200
        key = (await owner.get("/api/v1/me")).json()["id"]
        assert (await admin.delete(f"/api/v1/admin/keys/{key}")).status_code == 204
        assert (await program.get(url, headers=headers)).status_code == 401


async def test_a_guest_in_a_loop_does_not_use_up_the_requests_of_the_owner(database_url: str) -> None:
    async with world(ApiConfig(rate_limit_per_minute=20), database_url=database_url) as api, api.client() as owner:
        session_id = await new_session(owner)
        async with guest(api, session_id, "viewer") as browser:
            answers = [(await browser.get(f"/api/v1/sessions/{session_id}")).status_code for _ in range(25)]
        assert (answers[0], answers[-1]) == (200, 429)
        assert (await owner.get(f"/api/v1/sessions/{session_id}")).status_code == 200


@pytest.mark.parametrize("how", ["revoke", "remove", "leave"])
async def test_access_ends_within_a_second_also_on_an_open_page(api: World, how: str) -> None:
    async with api.client() as owner:
        session_id = await new_session(owner)
        url = f"/api/v1/sessions/{session_id}"
        made = (await owner.post(f"{url}/invites", json={"role": "editor"})).json()
        async with api.client("", **AS_GUEST) as browser:
            joined = (await browser.post(OPEN, json={"invite": made["invite"], "name": "Ann"})).json()
            async with browser.stream("GET", f"{url}/stream?after=0&guest=true") as stream:
                lines = stream.aiter_lines()
                assert await anext(lines) == "event: hello"
                if how == "revoke":
                    assert (await owner.delete(f"{url}/invites/{made['id']}?people=true")).status_code == 204
                elif how == "remove":
                    assert (await owner.delete(f"{url}/participants/{joined['id']}")).status_code == 204
                else:
                    assert (await browser.post(f"{url}/leave")).status_code == 204
                began = asyncio.get_running_loop().time()
                async with asyncio.timeout(5):
                    async for _ in lines:
                        pass
                assert asyncio.get_running_loop().time() - began < 2
            assert (await browser.get(url)).status_code == 401


async def test_only_a_guest_leaves_and_a_key_that_takes_no_part_is_nobody(api: World) -> None:
    async with api.client() as owner:
        url = f"/api/v1/sessions/{await new_session(owner)}"
        assert (await owner.post(f"{url}/leave")).status_code == 403
        assert (await owner.get(f"{url}/participants/me")).status_code == 404
        await owner.post(f"{url}/participants", json={})
        assert (await owner.get(f"{url}/participants/me")).json()["role"] == "owner"
