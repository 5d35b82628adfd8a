"""Ports of a session over the API: the list, and raw connections."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from uuid import UUID

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from jelmore.ports import Role
from jelmore_protocol.frames import CloseCode
from jelmore_protocol.sandbox_ports import END
from tests.integration.api.test_socket import new_session, sleep
from tests.integration.api.world import World
from tests.support.waiting import until


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.write(b"end")
    writer.close()


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[int]:
    """The port of a server that sends back what it gets."""
    server = await asyncio.start_server(_echo, "127.0.0.1", 0)
    async with server:
        yield int(server.sockets[0].getsockname()[1])


def raw(
    api: World, session_id: str, port: int | str, key: str | None = None
) -> AbstractAsyncContextManager[ClientConnection]:
    headers = {"X-API-Key": api.keys[Role.ADMIN] if key is None else key}
    return api.connect(f"/api/v1/sessions/{session_id}/ports/{port}", additional_headers=headers)


async def all_of(connection: ClientConnection) -> tuple[bytes, int]:
    content = b""
    try:
        async with asyncio.timeout(10):
            while True:
                piece = await connection.recv()
                assert isinstance(piece, bytes)
                content += piece
    except ConnectionClosed as closed:
        return content, closed.rcvd.code if closed.rcvd else 1006


async def refused(api: World, session_id: str, port: int | str, key: str | None = None) -> int:
    with pytest.raises(InvalidStatus) as error:
        async with raw(api, session_id, port, key):
            pass
    return error.value.response.status_code


async def test_bytes_pass_until_the_server_ends(api: World, echo: int) -> None:
    session_id, _ = await new_session(api)
    async with raw(api, session_id, echo) as connection:
        await connection.send(b"\x00\xff hello")
        await connection.send(END)
        assert await all_of(connection) == (b"\x00\xff helloend", 1000)
    await until(lambda: api.port_connections.connections[0].closed)


@pytest.mark.parametrize("frames", [[b"x", END, END, b"y"], ["no such word"]])
async def test_a_frame_that_cannot_be_passed_closes_the_connection(api: World, frames: list[str | bytes]) -> None:
    ended = asyncio.Event()

    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await ended.wait()
        writer.close()

    session_id, _ = await new_session(api)
    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        async with raw(api, session_id, server.sockets[0].getsockname()[1]) as connection:
            for frame in frames:
                await connection.send(frame)
            assert await all_of(connection) == (b"", CloseCode.BAD_FRAME)
        ended.set()


async def test_who_may_not_write_or_see_the_session_is_refused(api: World, echo: int) -> None:
    session_id, token = await new_session(api)
    assert await refused(api, session_id, echo, "") == 401
    assert await refused(api, session_id, echo, token) == 401
    assert await refused(api, session_id, echo, api.keys[Role.READONLY]) == 403
    assert await refused(api, session_id, echo, api.keys[Role.CLIENT]) == 404
    assert await refused(api, "00000000-0000-0000-0000-000000000000", echo) == 404
    assert api.port_connections.opened == []


@pytest.mark.parametrize("port", ["0", "65536", "-1", "8080x", "%39", "٣٠٠٠"])
async def test_what_is_no_port_is_refused(api: World, port: str) -> None:
    session_id, _ = await new_session(api)
    assert await refused(api, session_id, port) in {404, 422}
    assert api.port_connections.opened == []


async def test_nothing_listens(api: World, echo: int, unused_tcp_port: int) -> None:
    session_id, _ = await new_session(api)
    assert await refused(api, session_id, unused_tcp_port) == 404


async def test_a_connection_wakes_a_sleeping_session(api: World, echo: int) -> None:
    session_id, _ = await new_session(api)
    await sleep(api, session_id)
    api.port_connections.refusals = 3  # its runner is starting
    async with raw(api, session_id, echo) as connection:
        await connection.send(END)
        assert (await all_of(connection))[0] == b"end"
    assert api.store.sessions[UUID(session_id)].presence.value == "awake"


async def test_revoking_the_key_ends_the_connection(api: World, echo: int) -> None:
    session_id, _ = await new_session(api)
    async with raw(api, session_id, echo, api.keys[Role.ADMIN]) as connection:
        found = await api.access.keys.caller(api.keys[Role.ADMIN])
        await api.store.revoke_key(found.key.id)
        assert (await all_of(connection))[1] == 4401


async def test_a_sandbox_that_knows_of_the_revocation_first_ends_it_alike(api: World, echo: int) -> None:
    session_id, _ = await new_session(api)
    async with raw(api, session_id, echo) as connection:
        await connection.send(b"x")
        assert await connection.recv() == b"x"
        link = api.port_connections.connections[0]
        link.revoked = True
        await link.end()  # its server ends too
        assert await all_of(connection) == (b"end", 4401)


async def test_the_list_shows_what_listens_and_wakes_nothing(api: World) -> None:
    session_id, _ = await new_session(api)
    program = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=True)"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"{program}; time.sleep(60)", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with api.client() as http:
            found = (await http.get(f"/api/v1/sessions/{session_id}/ports")).json()["ports"]
            mine = next(each for each in found if each["port"] == port)
            assert "socket.create_server" in mine["command"]
            assert mine["since"].endswith("Z")
            await sleep(api, session_id)
            assert (await http.get(f"/api/v1/sessions/{session_id}/ports")).json()["ports"] == []
        assert api.store.sessions[UUID(session_id)].presence.value == "hibernated"
    finally:
        process.kill()
        await process.wait()


async def test_a_plain_request_gets_426(api: World) -> None:
    session_id, _ = await new_session(api)
    async with api.client() as http:
        assert (await http.get(f"/api/v1/sessions/{session_id}/ports/3000")).status_code == 426
        assert (await http.get(f"/api/v1/sessions/{session_id}/ports/70000")).status_code == 422
