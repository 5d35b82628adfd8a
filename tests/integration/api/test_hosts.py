"""A page of a stranger that has let its name lead to this machine learns nothing."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import InvalidStatus

from jelmore.api.cookies import BROWSER_HEADER, LOGIN_COOKIE, SECURE_LOGIN_COOKIE
from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from tests.integration.api.world import World, world

EDGE = {"X-Forwarded-For": "192.0.2.7"}
"""What Caddy adds to every request."""
REBOUND = {**EDGE, "Host": "evil.example:8080"}
SESSIONS = "/api/v1/sessions"


@pytest_asyncio.fixture
async def named() -> AsyncIterator[World]:
    """An installation with two names."""
    config = ApiConfig(public_url="https://jelmore.example", allowed_hosts=("box.lan",))
    async with world(config) as made:
        yield made


def connect(api: World, host: str, path: str, headers: dict[str, str]) -> AbstractAsyncContextManager[ClientConnection]:
    """Return a WebSocket that is addressed to `host`."""
    return unix_connect(api.socket_path, uri=f"ws://{host}{path}", additional_headers=headers, open_timeout=10)


@pytest.mark.parametrize("path", ["/", "/ui/index.html", "/sw.js", "/api/v1/docs", "/openapi.json", SESSIONS, "/x"])
async def test_a_request_of_a_page_under_another_name_is_refused(named: World, path: str) -> None:
    async with named.client("", **REBOUND) as http:
        refused = await http.get(path)
    assert (refused.status_code, refused.json()["code"]) == (421, "unknown_host")
    assert "“evil.example” is not a name of this installation" in refused.json()["detail"]
    assert "JELMORE_ALLOWED_HOSTS" in refused.json()["detail"]
    assert refused.headers["x-request-id"] == refused.json()["request_id"]


@pytest.mark.parametrize(
    "host", ["jelmore.example", "box.lan:8080", "localhost", "127.0.0.1:8080", "[::1]", "192.0.2.1"]
)
async def test_its_own_names_and_addresses_are_served(named: World, host: str) -> None:
    async with named.client("", **EDGE, Host=host) as http:
        assert (await http.get("/")).status_code == 200
        assert (await http.get(SESSIONS)).status_code == 401


async def test_a_login_is_good_only_under_the_names_of_the_installation(named: World) -> None:
    async with named.client(**EDGE, Host="other.lan") as http:  # a key is good under any name
        token = (await http.post("/api/v1/login")).cookies[SECURE_LOGIN_COOKIE]
        assert (await http.get(SESSIONS)).status_code == 200
    cookie = {"Cookie": f"{SECURE_LOGIN_COOKIE}={token}", BROWSER_HEADER: "1", **EDGE}
    for path in (SESSIONS, "/health", f"{SESSIONS}?ticket=x"):
        async with named.client("", **cookie, Host="other.lan") as http:
            assert (await http.get(path)).status_code == 421
    async with named.client("", **cookie, Host="box.lan") as http:
        assert (await http.post(SESSIONS)).status_code == 201


async def test_probes_are_answered_under_any_name_with_the_status_only(named: World) -> None:
    async with named.client("", **REBOUND) as http:
        for path in ("/livez", "/readyz", "/health", "/api/health", "/api/v1/health"):
            answer = await http.get(path)
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


async def test_programs_on_the_managers_own_socket_need_no_name(named: World) -> None:
    async with named.client("", Host="manager") as http:
        assert (await http.get(SESSIONS)).status_code == 401


@pytest.mark.parametrize("part", ["stream", "terminal"])
async def test_a_websocket_of_a_page_under_another_name_is_refused(named: World, part: str) -> None:
    async with named.client() as http:
        session_id = (await http.post(SESSIONS)).json()["id"]
    path = f"{SESSIONS}/{session_id}/{part}"
    page = {**EDGE, "Origin": "http://evil.example"}
    for headers in (page, {**page, "Cookie": f"{LOGIN_COOKIE}=x"}):
        with pytest.raises(InvalidStatus) as refused:
            async with asyncio.timeout(10), connect(named, "evil.example", path, headers):
                pass
        assert refused.value.response.status_code == 421
        assert json.loads(refused.value.response.body or b"")["code"] == "unknown_host"
    key = {"X-API-Key": named.keys[Role.ADMIN]}
    for host, headers in (("other.lan", EDGE), ("evil.example", {**page, **key}), ("box.lan", page)):
        async with asyncio.timeout(10), connect(named, host, path, headers):
            pass


async def test_every_name_may_be_allowed() -> None:
    async with world(ApiConfig(allowed_hosts=("*",))) as api, api.client("", **REBOUND) as http:
        assert (await http.get("/")).status_code == 200


async def test_a_page_of_a_configured_origin_may_ask_before_it_sends_its_key() -> None:
    async with world(ApiConfig(cors_origins=("https://app.example",))) as api:
        asking = {"Origin": "https://app.example", "Access-Control-Request-Method": "GET", **EDGE, "Host": "other.lan"}
        async with api.client("", **asking, **{"Access-Control-Request-Headers": "x-api-key"}) as http:
            assert (await http.options(SESSIONS)).status_code == 200
        async with api.client("", **EDGE, Host="other.lan", Origin="https://app.example") as http:
            refused = await http.get(SESSIONS)
            assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (421, "https://app.example")
