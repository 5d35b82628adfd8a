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
from websockets.exceptions import ConnectionClosed

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
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


async def test_heads_empty_answers_and_encodings_pass(api: World, server: int) -> None:
    session_id, _ = await new_session(api)
    async with entered(api, session_id, server) as http:
        head = await http.head("/x")
        assert (head.status_code, head.content) == (200, b"")
        assert int(head.headers["content-length"]) > 100
        packed = await http.get("/packed", headers={"Accept-Encoding": "gzip"})
        assert (packed.headers["content-encoding"], packed.headers["etag"], packed.json()) == ("gzip", '"1"', {})
        assert (await http.get("/same")).status_code == 304


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


async def test_without_a_host_for_ports_there_are_no_links() -> None:
    async with world(ApiConfig(public_url="https://jelmore.example")) as api:
        session_id, _ = await new_session(api)
        async with api.client() as http:
            refused = await http.post(f"/api/v1/sessions/{session_id}/ports/3000/links")
        assert (refused.status_code, "JELMORE_PORTS_HOST" in refused.text) == (409, True)
