"""Signing in with a browser, and the page that it gets."""

import asyncio
import json
import re

import httpx
import pytest

from jelmore.api.cookies import BROWSER_HEADER, LOGIN_COOKIE, SECURE_LOGIN_COOKIE
from jelmore.api.services import ApiConfig
from jelmore.control.access import digest
from jelmore.ports import Role
from tests.integration.api.world import World, world

SESSIONS = "/api/v1/sessions"


async def sign_in(api: World, role: Role = Role.CLIENT) -> httpx.AsyncClient:
    """Return a client that holds the cookie of a login and no key."""
    async with api.client(api.keys[role]) as http:
        answer = await http.post("/api/v1/login")
    assert answer.status_code == 200, answer.text
    assert answer.json()["role"] == role.value
    attributes = answer.headers["set-cookie"].lower()
    assert all(each in attributes for each in ("httponly", "samesite=strict", "path=/"))
    browser = api.client("")
    browser.cookies.set(LOGIN_COOKIE, answer.cookies[LOGIN_COOKIE])
    return browser


async def test_a_login_may_what_its_key_may(api: World) -> None:
    async with await sign_in(api) as browser:
        assert (await browser.get("/api/v1/me")).json()["role"] == "client"
        created = await browser.post(SESSIONS, headers={BROWSER_HEADER: "1"})
        assert created.status_code == 201, created.text
        url = f"{SESSIONS}/{created.json()['id']}"
        assert (await browser.get(url)).status_code == 200
        async with asyncio.timeout(10), browser.stream("GET", f"{url}/stream?after=0") as stream:
            assert (stream.status_code, await anext(stream.aiter_lines())) == (200, "event: hello")
    async with await sign_in(api, Role.READONLY) as browser:
        assert (await browser.post(SESSIONS, headers={BROWSER_HEADER: "1"})).status_code == 403


@pytest.mark.parametrize(
    "headers", [{}, {BROWSER_HEADER: "1", "Origin": "https://elsewhere.test"}, {"Origin": "null", BROWSER_HEADER: "1"}]
)
async def test_another_site_cannot_use_a_login(api: World, headers: dict[str, str]) -> None:
    async with await sign_in(api) as browser:
        assert (await browser.post(SESSIONS, headers=headers)).status_code == 401
        assert (await browser.post(SESSIONS, headers={BROWSER_HEADER: "1", "Origin": "http://test"})).status_code == 201


async def test_a_login_is_no_token_and_ends_with_its_key(api: World) -> None:
    async with await sign_in(api) as browser:
        token = browser.cookies[LOGIN_COOKIE]
        for stolen in ({"Authorization": f"Bearer {token}"}, {"X-API-Key": token}):
            async with api.client("", **stolen) as http:
                assert (await http.get(SESSIONS)).status_code in {401, 403}
        kept = await api.store.key_by_digest(digest(api.keys[Role.CLIENT]))
        assert kept is not None
        await api.store.revoke_key(kept.id)
        assert (await browser.get("/api/v1/me")).status_code == 401


async def test_signing_out_removes_the_cookie(api: World) -> None:
    async with await sign_in(api) as browser:
        answer = await browser.post("/api/v1/logout", headers={BROWSER_HEADER: "1"})
        assert answer.json() == {"provider_url": None}
        assert LOGIN_COOKIE in answer.headers["set-cookie"]
        assert "max-age=0" in answer.headers["set-cookie"].lower()


async def test_under_https_the_cookie_is_one_that_no_other_host_can_set(database_url: str) -> None:
    """A cookie of the plain name, as an earlier version set it and another host could, leads to a new sign-in."""
    config = ApiConfig(public_url="https://jelmore.test")
    async with world(config, database_url=database_url) as api:
        async with api.client(Host="jelmore.test") as http:
            answer = await http.post("/api/v1/login")
        (line,) = answer.headers.get_list("set-cookie")
        assert line.startswith(f"{SECURE_LOGIN_COOKIE}=")
        attributes = {each.strip().lower() for each in line.split(";")[1:]}
        assert {"secure", "httponly", "path=/", "samesite=strict"} <= attributes
        assert not any(each.startswith("domain") for each in attributes)
        token = line.partition("=")[2].partition(";")[0]
        for name, status in ((SECURE_LOGIN_COOKIE, 200), (LOGIN_COOKIE, 401)):
            async with api.client("", Host="jelmore.test", Cookie=f"{name}={token}") as browser:
                assert (await browser.get("/api/v1/me")).status_code == status
        elsewhere = {"Host": "elsewhere.test", "X-Forwarded-For": "192.0.2.7"}
        async with api.client("", **elsewhere, Cookie=f"{SECURE_LOGIN_COOKIE}={token}") as browser:
            assert (await browser.get("/api/v1/me")).status_code == 421
        async with api.client("", Host="jelmore.test", Cookie=f"{SECURE_LOGIN_COOKIE}={token}") as browser:
            gone = await browser.post("/api/v1/logout", headers={BROWSER_HEADER: "1"})
        removed = [each for each in gone.headers.get_list("set-cookie") if each.startswith(SECURE_LOGIN_COOKIE)]
        assert "secure" in removed[0].lower()  # else the browser would not take it


async def test_the_page_allows_nothing_but_its_own_files(api: World) -> None:
    async with api.client("") as http:
        for path in ("/", "/ui/index.html"):
            page = await http.get(path)
            assert page.status_code == 200
            policy = page.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert page.headers["x-frame-options"] == "DENY"
        policy = (await http.get("/ui/terminal.html")).headers["content-security-policy"]
        assert policy.count("unsafe") == 1
        assert "style-src 'self' 'unsafe-inline'" in policy
        for path in ("/ui/../settings.py", "/ui/%2e%2e/settings.py", "/ui/nothing.js"):
            assert (await http.get(path)).status_code == 404


async def test_the_service_worker_keeps_files_that_are_served_and_no_api(api: World) -> None:
    async with api.client("") as http:
        worker = await http.get("/sw.js")
        assert worker.headers["cache-control"] == "no-cache"
        assert "__" not in worker.text
        found = re.search(r"const FILES = (\[.*\]);", worker.text)
        assert found is not None
        files = json.loads(found[1])
        assert "/ui/js/main.js" in files
        for path in files:
            assert path == "/" or path.startswith("/ui/")
            assert (await http.get(path)).status_code == 200, path
