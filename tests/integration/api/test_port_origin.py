"""The origin of a port: HTTP, server-sent events and WebSockets of a real server, and what does not get through."""

import asyncio
import hashlib
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from jelmore_protocol.tokens import Audience, Claims, Scope
from tests.integration.api.test_socket import new_session, sleep
from tests.integration.api.world import World, world
from tests.support.dev_server import SOURCE
from tests.support.waiting import until

EDGE = {"X-Forwarded-For": "192.0.2.7"}
"""What Caddy adds to every request."""


@pytest_asyncio.fixture
async def api() -> AsyncIterator[World]:
    async with world(ApiConfig(public_url="http://localhost", ports_host="localhost")) as made:
        yield made


@pytest_asyncio.fixture
async def server() -> AsyncIterator[int]:
    """The port of a dev server."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(probe.getsockname()[1])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SOURCE, str(port))

    def listens() -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", port)) == 0

    await until(listens)
    yield port
    process.kill()
    await process.wait()


def browser(api: World, session_id: str, port: int, **headers: str) -> httpx.AsyncClient:
    """Return a browser of the origin of a port, with a jar for cookies."""
    transport = httpx.AsyncHTTPTransport(uds=api.socket_path)
    origin = f"http://{port}--{session_id}.localhost"
    return httpx.AsyncClient(transport=transport, base_url=origin, headers={**EDGE, **headers}, timeout=30)


async def link(api: World, session_id: str, port: int, key: str | None = None, **body: Any) -> str:
    async with api.client(key) as http:
        made = await http.post(f"/api/v1/sessions/{session_id}/ports/{port}/links", json=body)
    assert made.status_code == 201, made.text
    return str(made.json()["url"])


@asynccontextmanager
async def entered(api: World, session_id: str, port: int) -> AsyncIterator[httpx.AsyncClient]:
    """Yield a browser that has followed a link."""
    async with browser(api, session_id, port) as http:
        answer = await http.get(await link(api, session_id, port))
        assert answer.status_code == 303, answer.text
        yield http


def connected(
    api: World, session_id: str, port: int, cookie: str, *, origin: str | None = None, subprotocol: str | None = None
) -> AbstractAsyncContextManager[ClientConnection]:
    headers = {**EDGE, "Cookie": f"jelmore_port={cookie}", **({"Origin": origin} if origin else {})}
    uri = f"ws://{port}--{session_id}.localhost/ws"
    offered: list[Any] | None = [subprotocol] if subprotocol else None
    return unix_connect(api.socket_path, uri=uri, additional_headers=headers, open_timeout=10, subprotocols=offered)


async def test_a_link_becomes_a_cookie_of_this_host_and_leaves_the_url(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    url = await link(api, session_id, server, expires_in_s=600)
    assert url.startswith(f"http://{server}--{session_id}.localhost/?jelmore_token=ey")
    async with browser(api, session_id, server) as http:
        moved = await http.get(url.replace("/?", "/deep/a%2Fb?x=1&"))
        assert (moved.status_code, moved.headers["referrer-policy"]) == (303, "no-referrer")
        assert moved.headers["location"] == f"http://{server}--{session_id}.localhost/deep/a%2Fb?x=1"
        cookie = moved.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "domain" not in cookie.lower()
        seen = await http.get(moved.headers["location"])
        assert seen.json()["path"] == "/deep/a%2Fb?x=1"
        assert seen.headers["referrer-policy"] == "same-origin"
    assert api.port_connections.opened[0][1] == (await api.access.keys.caller(api.keys[Role.ADMIN])).key.id


async def test_the_server_sees_localhost_and_nothing_of_ours(api: World, server: int) -> None:
    session_id, token = await new_session(api)
    async with entered(api, session_id, server) as http:
        http.cookies.set("app", "1")
        own = str(http.base_url).rstrip("/")
        headers = {"Authorization": f"Bearer {token}", "X-API-Key": api.keys[Role.ADMIN], "Origin": own}
        seen = (await http.put("/p//r%2F..?a=%20&b", content=b"x" * 100_000, headers=headers)).json()
    assert (seen["method"], seen["path"], seen["bytes"]) == ("PUT", "/p//r%2F..?a=%20&b", 100_000)
    assert seen["sha256"] == hashlib.sha256(b"x" * 100_000).hexdigest()
    got = dict(seen["headers"])
    assert (got["host"], got["origin"]) == (f"localhost:{server}", f"http://localhost:{server}")
    assert (got["cookie"], got["x-forwarded-for"], got["x-forwarded-proto"]) == ("app=1", "192.0.2.7", "http")
    assert not {"authorization", "x-api-key"} & set(got)
    assert "jelmore_port" not in str(seen)


async def test_a_chunked_body_passes(api: World, server: int) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield bytes(65536)

    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        assert (await http.post("/", content=pieces())).json()["bytes"] == 40 * 65536


async def test_what_the_server_sets_stays_on_its_host(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        answer = await http.get("/cookies")
        assert answer.headers.get_list("set-cookie") == ["app=1; Path=/"]
        assert not {"alt-svc", "x-hop"} & set(answer.headers)
        moved = await http.get("/moved")
        assert moved.headers["location"] == f"http://{server}--{session_id}.localhost/there?x=1"


async def test_events_arrive_one_by_one_and_end_with_the_client(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        began = time.monotonic()
        async with http.stream("GET", "/events") as answer:
            lines = answer.aiter_lines()
            for number in range(3):
                assert await anext(lines) == f"data: {number}"
                await anext(lines)
        assert time.monotonic() - began < 10
    await until(lambda: all(each.closed for each in api.port_connections.connections))


async def test_messages_of_a_websocket_pass(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        cookie = http.cookies["jelmore_port"]
    origin = f"http://{server}--{session_id}.localhost"
    async with connected(api, session_id, server, cookie, origin=origin, subprotocol="vite-hmr") as websocket:
        assert websocket.subprotocol == "vite-hmr"
        for message in ("text", b"\x00\xff", "x" * 60_000):
            await websocket.send(message)
            assert await websocket.recv() == message
        await websocket.close(1000)
    await until(lambda: all(each.closed for each in api.port_connections.connections))


async def closed(websocket: ClientConnection) -> int:
    async with asyncio.timeout(10):
        with pytest.raises(ConnectionClosed) as error:
            await websocket.recv()
    return error.value.rcvd.code if error.value.rcvd else 1006


async def test_revoking_the_key_ends_links_pages_and_websockets(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    found = await api.access.keys.caller(api.keys[Role.ADMIN])
    again = await link(api, session_id, server)
    async with entered(api, session_id, server) as http:
        cookie = http.cookies["jelmore_port"]
        async with connected(api, session_id, server, cookie) as websocket, http.stream("GET", "/events") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            await api.store.revoke_key(found.key.id)
            assert await closed(websocket) == 4401
            with pytest.raises(httpx.RemoteProtocolError):
                async for _ in lines:
                    pass
        assert (await http.get("/")).status_code == 401
        assert (await http.get(again)).status_code == 401


async def test_a_sleeping_session_stays_asleep(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        await sleep(api, session_id)
        answer = await http.get("/")
    assert answer.status_code == 503
    assert "The session is asleep" in answer.text
    assert api.store.sessions[UUID(session_id)].presence.value == "hibernated"


async def test_a_port_without_a_server_says_so(api: World, unused_tcp_port: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, unused_tcp_port) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.headers["cache-control"]) == (502, "no-store")
    assert f"Nothing listens on port {unused_tcp_port}" in answer.text


async def test_a_server_that_is_none_of_http_is_reported(api: World) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 smtp ready\r\n")
        writer.close()

    listening = await asyncio.start_server(talk, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    session_id, _ = await new_session(api)
    async with listening, entered(api, session_id, port) as http:
        assert (await http.get("/")).status_code == 502


async def test_who_may_make_links(api: World, server: int) -> None:
    session_id, token = await new_session(api)
    path = f"/api/v1/sessions/{session_id}/ports"
    async with api.client() as http:
        for body in ({"expires_in_s": 1}, {"expires_in_s": 10**9}, {"x": 1}):
            assert (await http.post(f"{path}/3000/links", json=body)).status_code == 422
        assert (await http.post(f"{path}/0/links")).status_code == 422
        assert (await http.post(f"{path}/3000/links")).status_code == 201
    async with api.client(api.keys[Role.READONLY]) as http:
        assert (await http.post(f"{path}/3000/links")).status_code == 403
    async with api.client(api.keys[Role.CLIENT]) as http:
        assert (await http.post(f"{path}/3000/links")).status_code == 404
    async with api.client("", Authorization=f"Bearer {token}") as http:
        assert (await http.post(f"{path}/3000/links")).status_code == 403


def _claims(session_id: str, key_id: str, port: int, expires_in_s: int = 600) -> Claims:
    scopes = frozenset({Scope.READ, Scope.WRITE})
    return Claims(session_id, Audience.PORT, scopes, key_id, int(time.time()) + expires_in_s, port=port)


async def test_a_grant_of_something_else_opens_nothing(api: World, server: int) -> None:
    session_id, token = await new_session(api)
    other_id, _ = await new_session(api)
    key_id = (await api.access.keys.caller(api.keys[Role.ADMIN])).key.id
    reader = (await api.access.keys.caller(api.keys[Role.READONLY])).key.id
    other_client = (await api.access.keys.caller(api.other_key)).key.id
    sign = api.access.signing.sign
    wrong = {
        "another session": sign(_claims(other_id, key_id, server)),
        "another port": sign(_claims(session_id, key_id, server + 1)),
        "no port": sign(_claims(session_id, key_id, 0)),
        "expired": sign(_claims(session_id, key_id, server, -1)),
        "a key that may not write": sign(_claims(session_id, reader, server)),
        "a key that does not see it": sign(_claims(session_id, other_client, server)),
        "an unknown key": sign(_claims(session_id, "key_x", server)),
        "a token of the session": token,
        "an API key": api.keys[Role.ADMIN],
        "nothing": "",
        "nonsense": "a.b.c",
    }
    async with browser(api, session_id, server) as http:
        for name, given in wrong.items():
            assert (await http.get("/", params={"jelmore_token": given})).status_code == 401, name
            assert (await http.get("/", headers={"Cookie": f"jelmore_port={given}"})).status_code == 401, name
            bearer = {"Authorization": f"Bearer {given or 'x'}"}
            assert (await http.get("/", headers=bearer)).status_code == 401, name
            with pytest.raises(InvalidStatus) as refused:
                async with connected(api, session_id, server, given):
                    pass
            assert refused.value.response.status_code == 401, name
        good = sign(_claims(session_id, key_id, server))
        cookies = {"Cookie": f"jelmore_port=x; jelmore_port={good}"}
        assert (await http.get("/", headers=cookies)).status_code == 200, "another page set a cookie of our name"
    async with api.client("", Authorization=f"Bearer {good}") as http:
        assert (await http.get(f"/api/v1/sessions/{session_id}")).status_code in {401, 403}, "a grant opens no API"
    assert {each[0] for each in api.port_connections.opened} == {server}
    assert len(api.port_connections.opened) == 1


async def test_new_tokens_of_the_session_end_its_links(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        assert (await http.get("/")).status_code == 200
        async with api.client() as owner:
            assert (await owner.post(f"/api/v1/sessions/{session_id}/token", json={"rotate": True})).is_success
        assert (await http.get("/")).status_code == 401


async def test_pages_of_other_sessions_cannot_use_a_port(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    other_id, _ = await new_session(api)
    foreign = {"Origin": f"http://{server}--{other_id}.localhost"}
    async with entered(api, session_id, server) as http:
        assert (await http.post("/", headers=foreign)).status_code == 403
        assert (await http.post("/", headers={"Origin": "null"})).status_code == 403
        hidden = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
        assert (await http.get("/", headers=hidden)).status_code == 403
        with pytest.raises(InvalidStatus) as refused:
            async with connected(api, session_id, server, http.cookies["jelmore_port"], origin=foreign["Origin"]):
                pass
        assert refused.value.response.status_code == 403
    assert api.port_connections.opened == []


@pytest.mark.parametrize(
    "path", ["/api/v1/sessions", "/", "/ui/index.html", "/readyz", "/metrics", "/s/x/ws", "/sw.js"]
)
async def test_the_origin_of_a_port_serves_nothing_of_ours(api: World, server: int, path: str) -> None:
    session_id, _ = await new_session(api)
    async with browser(api, session_id, server, **{"X-API-Key": api.keys[Role.ADMIN]}) as http:
        assert (await http.get(path)).status_code == 401
    async with entered(api, session_id, server) as http:
        assert (await http.get(path)).json()["path"] == path


async def request_line(api: World, line: str, *headers: str) -> bytes:
    reader, writer = await asyncio.open_unix_connection(api.socket_path)
    writer.write("\r\n".join([line, "X-Forwarded-For: 192.0.2.7", *headers, "", ""]).encode())
    async with asyncio.timeout(10):
        answer = await reader.read(4096)
    writer.close()
    return answer


async def test_tricks_with_targets_and_hosts(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        cookie = f"Cookie: jelmore_port={http.cookies['jelmore_port']}"
    token = (await link(api, session_id, server)).partition("?")[2]
    host = f"Host: {server}--{session_id}.localhost"
    for target in ("http://evil.example/", "evil.example:80", "*"):
        assert b" 400 " in (await request_line(api, f"GET {target} HTTP/1.1", host, cookie)).split(b"\r\n")[0]
    for target in ("//evil.example/x", "/\\evil.example"):
        moved = await request_line(api, f"GET {target}?{token} HTTP/1.1", host)
        assert f"location: http://{server}--{session_id}.localhost/".encode() in moved.lower()
    for wrong in (
        f"Host: {server}--{session_id}.localhost.evil.example",
        f"Host: {server}--{session_id}.evil.example",
        f"Host: x.{server}--{session_id}.localhost",
        f"Host: {server}--{session_id}",
    ):
        answer = await request_line(api, "GET /cookies HTTP/1.1", wrong, cookie)
        assert b"app=1" not in answer
    two = await request_line(api, "GET /cookies HTTP/1.1", host, "Host: localhost", cookie)
    assert b" 400 " in two.split(b"\r\n")[0]
    same = await request_line(api, "GET /p/q/../../../r//%2e%2e?a HTTP/1.1", host, cookie)
    assert b'"path": "/p/q/../../../r//%2e%2e?a"' in same
    framing = ("Content-Length: 5", "Transfer-Encoding: chunked", "Connection: close")
    chunks = "4\r\nabcd\r\n0\r\n\r\nGET /cookies HTTP/1.1\r\n"
    smuggled = await request_line(api, "POST / HTTP/1.1", host, cookie, *framing, "", chunks)
    assert b'"bytes": 4' in smuggled
    assert smuggled.count(b"HTTP/1.1 ") == 1
    trace = await request_line(api, "TRACE / HTTP/1.1", host, cookie)
    assert b" 405 " in trace.split(b"\r\n")[0]


async def test_without_a_host_for_ports_there_are_no_links() -> None:
    async with world(ApiConfig(public_url="https://jelmore.example")) as api:
        session_id, _ = await new_session(api)
        async with api.client() as http:
            refused = await http.post(f"/api/v1/sessions/{session_id}/ports/3000/links")
        assert (refused.status_code, "JELMORE_PORTS_HOST" in refused.text) == (409, True)
