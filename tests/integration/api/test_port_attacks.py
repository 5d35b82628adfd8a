"""What does not get through to a port of a session: other grants, pages of other sessions, and tricks with names."""

import asyncio
import time

import pytest
from websockets.exceptions import InvalidStatus

from jelmore.api.services import ApiConfig
from jelmore.ports import Role
from jelmore_protocol.tokens import Audience, Claims, Scope
from tests.integration.api.test_port_origin import EDGE, api, browser, connected, entered, link, server
from tests.integration.api.test_socket import new_session
from tests.integration.api.world import World, world

__all__ = ["api", "server"]


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
    writer.write("\r\n".join([line, "X-Forwarded-For: 192.0.2.7", "Connection: close", *headers, "", ""]).encode())
    async with asyncio.timeout(10):
        answer = await reader.read()
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
    framing = ("Content-Length: 5", "Transfer-Encoding: chunked")
    chunks = "4\r\nabcd\r\n0\r\n\r\nGET /cookies HTTP/1.1\r\n"
    smuggled = await request_line(api, "POST / HTTP/1.1", host, cookie, *framing, "", chunks)
    assert b'"bytes": 4' in smuggled
    assert smuggled.count(b"HTTP/1.1 ") == 1
    trace = await request_line(api, "TRACE / HTTP/1.1", host, cookie)
    assert b" 405 " in trace.split(b"\r\n")[0]


async def test_only_names_of_ports_are_allowed_beside_our_own() -> None:
    async with world(ApiConfig(public_url="http://a.example", ports_host="ports.example")) as api:
        session_id, _ = await new_session(api)
        name = f"3000--{session_id}.ports.example"
        for host in ("ports.example", "x.ports.example", f"x.{name}", f"{name}.b.example", f"99999--{session_id}"):
            async with api.client("", Host=host, **EDGE) as http:
                assert (await http.get("/")).status_code == 421, host
        async with api.client("", Host=name, **EDGE) as http:
            answer = await http.get("/")
        assert (answer.status_code, "needs a valid link" in answer.text) == (401, True)
