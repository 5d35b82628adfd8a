"""Ports of a session against the whole system, with sessions that are processes of this machine."""

import asyncio
from pathlib import Path

import httpx
import pytest

from jelmore_client import AsyncJelmore, Jelmore
from tests.e2e.test_command import COMMAND, Shell
from tests.integration.runner.harness import free_port
from tests.support.dev_server import dev_server
from tests.support.stack_client import Api


@pytest.fixture
def shell(local_api: Api, tmp_path: Path) -> Shell:
    return Shell(local_api, tmp_path)


async def test_a_local_port_leads_to_a_server_in_the_session(shell: Shell, local_api: Api) -> None:
    session_id = (await local_api.create())["id"]
    async with dev_server(local_api, session_id, free_port()) as port:
        code, out, _ = await shell.run("port", session_id)
        assert code == 0
        assert f"{port}" in out
        assert "dev_server.py" in out
        local = free_port()
        process = await asyncio.create_subprocess_exec(
            *COMMAND, "port", session_id, f"{port}:{local}", env=shell.environment, stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        assert (await process.stdout.readline()).decode() == f"127.0.0.1:{local} -> port {port}\n"
        async with httpx.AsyncClient(trust_env=False, base_url=f"http://127.0.0.1:{local}") as http:
            first = (await http.get("/a?b=1")).json()
            assert (first["method"], first["path"]) == ("GET", "/a?b=1")
            assert (await http.post("/", content=bytes(3_000_000))).json()["bytes"] == 3_000_000
        process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0


async def test_the_clients_connect_to_a_port(local_api: Api) -> None:
    session_id = (await local_api.create())["id"]
    request = b"GET /x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    async with dev_server(local_api, session_id, free_port()) as port:
        async with (
            AsyncJelmore(local_api.stack.url, api_key=local_api.stack.api_key) as client,
            (await client.sessions.get(session_id)).port(port) as connection,
        ):
            await connection.write(request)
            await connection.end()
            answer = b""
            while piece := await connection.read():
                answer += piece
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")

        def blocking() -> bytes:
            with (
                Jelmore(local_api.stack.url, api_key=local_api.stack.api_key) as client,
                client.sessions.get(session_id).port(port) as connection,
            ):
                connection.write(request)
                return connection.read()

        assert (await asyncio.to_thread(blocking)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_what_cannot_be_forwarded_is_said(shell: Shell, local_api: Api) -> None:
    session_id = (await local_api.create())["id"]
    for wrong in ("0", "x", "3000:99999"):
        code, _, error = await shell.run("port", session_id, wrong)
        assert (code, wrong.split(":")[-1] in error) == (2, True)
    async with AsyncJelmore(local_api.stack.url, api_key=local_api.stack.api_key) as client:
        session = await client.sessions.get(session_id)
        with pytest.raises(Exception, match="nothing of the session listens on port"):
            async with session.port(free_port()):
                pass
