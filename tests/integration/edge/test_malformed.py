"""Requests that are malformed get an answer that blames the request, and paths in other spellings lead nowhere else."""

import asyncio
from typing import Final
from uuid import uuid4

import pytest

from jelmore.session.world import Route
from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, serving

pytestmark = pytest.mark.integration

CHUNKED: Final = "Transfer-Encoding: chunked\r\n\r\n"
END: Final = "0\r\n\r\n"
BODIES: Final = {
    "a size that is no number": f"{CHUNKED}zz\r\n{{}}\r\n{END}",
    "an empty size": f"{CHUNKED}\r\n{{}}\r\n{END}",
    "a negative size": f"{CHUNKED}-2\r\n{{}}\r\n{END}",
    "a size of 72 bits": f"{CHUNKED}{'f' * 18}\r\n{{}}\r\n{END}",
    "more data than the size says": f"{CHUNKED}2\r\n{{}}XX{END}",
    "lines that end without CR": f"{CHUNKED}2\n{{}}\n0\n\n",
    "a trailer without a colon": f"{CHUNKED}2\r\n{{}}\r\n0\r\nno trailer\r\n\r\n",
    "a huge trailer": f"{CHUNKED}2\r\n{{}}\r\n0\r\nX-A: {'a' * 5_000}\r\n\r\n",
    "a huge extension of a chunk": f"{CHUNKED}2;{'a' * 70_000}\r\n{{}}\r\n{END}",
    "many extensions of chunks": CHUNKED + f"1;{'a' * 2000}\r\n-\r\n" * 64 + END,
    "an end within a chunk": f"{CHUNKED}10\r\n{{}}",
    "an end between chunks": f"{CHUNKED}2\r\n{{}}\r\n",
    "an end before the length": "Content-Length: 20\r\n\r\n{}",
}
"""Caddy meets these while it passes the request on."""

HEADS: Final = {
    "a length that is no number": "Content-Length: two\r\n\r\n{}",
    "a negative length": "Content-Length: -1\r\n\r\n{}",
    "a length with a sign": "Content-Length: +2\r\n\r\n{}",
    "a length of 67 bits": "Content-Length: 99999999999999999999\r\n\r\n{}",
    "two lengths": "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a list of lengths": "Content-Length: 2, 2\r\n\r\n{}",
    "a space before the colon": "Transfer-Encoding : chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a header without a name": ": a\r\n\r\n",
    "a NUL in a header": "X-A: a\0b\r\n\r\n",
    "a huge header": f"X-A: {'a' * 100_000}\r\n\r\n",
    "two hosts": "Host: elsewhere\r\n\r\n",
}
"""Caddy itself refuses these, before any route."""


async def status_of(stand: Stand, method: str, path: str, rest: str, *, ends: bool = False) -> int:
    """Send a request as it is; return the status of its answer. `ends` says that nothing more comes."""
    host, _, port = stand.options.http_listen.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{rest}".encode("latin-1"))
        if ends:
            writer.write_eof()
        async with asyncio.timeout(20):
            line = await reader.readline()  # what it has not read makes the connection end with a reset after that
    finally:
        writer.close()
    return int(line.split()[1])


@pytest.mark.parametrize("body", BODIES)
async def test_a_malformed_body_is_the_fault_of_the_request(stand: Stand, body: str) -> None:
    session_id = uuid4()
    await stand.edge.publish(session_id, stand.paths.public(str(session_id)), route=Route.RUNNER)
    async with (
        serving(Peer("0"), stand.paths.manager_socket(0)),
        serving(Peer("runner"), stand.paths.folder(str(session_id)) / "runner.sock"),
    ):
        for method, path in (
            ("POST", "/api/v1/sessions"),
            ("PUT", f"/api/v1/sessions/{session_id}/files/a"),
            ("GET", f"/s/{session_id}/health"),
        ):
            status = await status_of(stand, method, path, BODIES[body], ends=body.startswith("an end"))
            wanted = {400}
            if body.startswith("an end"):  # 499: the client had closed its side before the answer
                wanted |= {499} | ({200} if method == "GET" else set())  # 200: the answer came before the end
            assert status in wanted, path


@pytest.mark.parametrize("head", HEADS)
async def test_a_malformed_head_is_the_fault_of_the_request(stand: Stand, head: str) -> None:
    manager = Peer("0")
    async with serving(manager, stand.paths.manager_socket(0)):
        expected = 431 if head == "a huge header" else 400
        assert await status_of(stand, "POST", "/api/v1/sessions", HEADS[head]) == expected
    assert manager.paths == []


@pytest.mark.parametrize(
    "sent", [b"", b"HT", b"HTTP/1.1 200 OK\r\nContent-Le", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", b"no HTTP\r\n\r\n"]
)
async def test_a_manager_that_answers_badly_is_not_the_fault_of_the_request(stand: Stand, sent: bytes) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/readyz" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        else:
            writer.write(sent)
        writer.close()

    async with await asyncio.start_unix_server(break_off, str(stand.paths.manager_socket(0))):
        assert await status_of(stand, "POST", "/api/v1/sessions", "Content-Length: 2\r\n\r\n{}") == 503


SPELLINGS: Final = [
    "//s/{id}/health",
    "/s//{id}/health",
    "/s/{id}//health",
    "/./s/{id}/health",
    "/x/../s/{id}/health",
    "/x/%2e%2e/s/{id}/health",
    "/s/x/../{id}/health",
    "/s/%2e%2e/s/{id}/health",
    "/s/{id}/x/../health",
    "/s/{id}/health/",
    "/s/{id}/health/.",
    "/s/{id}/health;x",
    "/s/{id};x/health",
    "/s/{id}/health%00",
    "/s/{id}%00/health",
    "/s/{id}/health%0a",
    "/s/{id}/HEALTH",
    "/S/{id}/health",
    "/s/{ID}/health",
    "/s/{id}/%2568ealth",
]


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_a_session_has_one_path(stand: Stand, spelling: str) -> None:
    session_id, runner = uuid4(), Peer("runner")
    await stand.edge.publish(session_id, stand.paths.public(str(session_id)), route=Route.RUNNER)
    path = spelling.replace("{id}", str(session_id)).replace("{ID}", str(session_id).upper())
    async with serving(runner, stand.paths.folder(str(session_id)) / "runner.sock"):
        assert await status_of(stand, "GET", path, "\r\n") == 404
        assert runner.paths == []
        assert await status_of(stand, "GET", f"/s/{session_id}/health", "\r\n") == 200
    assert runner.paths == ["/health"]
