"""Ports of a sandbox through its runner: bytes to servers of the agent, and nowhere else."""

import asyncio
import os
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from jelmore_protocol.frames import CloseCode
from jelmore_protocol.sandbox_ports import END, MAX_CONNECTIONS, MAX_FRAME_BYTES
from jelmore_runner.listening_sockets import ListeningSocket, listening_sockets, socket_holders
from tests.integration.runner.harness import Runner, eventually, free_port
from tests.integration.runner.terminal_client import terminal

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]

ECHO = """
import asyncio, sys
async def serve(reader, writer):
    while piece := await reader.read(65536):
        writer.write(piece); await writer.drain()
    writer.write(b"end"); await writer.drain(); writer.close()
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()
asyncio.run(main())
"""
SILENT = (
    "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])), backlog=200); time.sleep(600)"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(demo_model: str) -> AsyncIterator[Runner]:
    with tempfile.TemporaryDirectory(prefix="jr-") as folder:
        runner = Runner(Path(folder), demo_model)
        await runner.begin()
        yield runner
        runner.terminate()
        print(runner.log)


@asynccontextmanager
async def server(runner: Runner, program: str) -> AsyncIterator[int]:
    """Run a program in a terminal of the session and yield the port it was given, once it listens."""
    port = free_port()
    script = runner.folder / "session" / "workspace" / f"server-{port}.py"
    script.write_text(program)
    async with terminal(runner) as client:
        await client.open(terminal=f"s{port}", command=f"exec python3 {script.name} {port}", pty=False)
        await eventually(lambda: any(each.port == port for each in listening_sockets()), "the server listens")
        yield port
        await client.send(type="end")
        await client.until_closed()


@asynccontextmanager
async def connected(runner: Runner, port: int | str) -> AsyncIterator[ClientConnection]:
    path = str(runner.folder / "c.sock")
    async with unix_connect(path, uri=f"ws://runner/ports/{port}?subject=t", compression=None) as connection:
        yield connection


async def until_closed(connection: ClientConnection) -> tuple[bytes, int]:
    """Return everything that still arrives, and the close code."""
    content = b""
    try:
        async with asyncio.timeout(30):
            while True:
                piece = await connection.recv()
                assert isinstance(piece, bytes)
                content += piece
    except ConnectionClosed as closed:
        return content, closed.rcvd.code if closed.rcvd else 1006


async def status_of(runner: Runner, port: int | str) -> int:
    with pytest.raises(InvalidStatus) as refused:
        async with connected(runner, port):
            pass
    return refused.value.response.status_code


async def test_bytes_pass_both_ways_and_each_direction_ends_by_itself(shared: Runner) -> None:
    content = os.urandom(3 * MAX_FRAME_BYTES)
    async with server(shared, ECHO) as port, connected(shared, port) as connection:
        for start in range(0, len(content), MAX_FRAME_BYTES):
            await connection.send(content[start : start + MAX_FRAME_BYTES])
        await connection.send(END)
        received, code = await until_closed(connection)
    assert (received, code) == (content + b"end", 1000)
    assert (await shared.health())["background"] >= 1  # it counts as use


async def test_a_port_of_the_runner_or_of_another_process_is_refused(shared: Runner) -> None:
    assert shared.process is not None
    own = [each.port for each in held_by(shared.process.pid)]
    assert own, "the runner's way to the model listens"
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        for port in [*own, elsewhere.getsockname()[1], free_port()]:
            assert await status_of(shared, port) == 404


@pytest.mark.parametrize("port", ["0", "65536", "-1", "x", "%2e%2e", "8080x", "99999999999999999999", "\uff18\uff10"])
async def test_what_is_no_port_is_refused(shared: Runner, port: str) -> None:
    assert await status_of(shared, port) == 404


async def test_a_server_that_reads_nothing_holds_the_client_back(shared: Runner) -> None:
    async with server(shared, SILENT) as port, connected(shared, port) as connection:
        sent = 0
        while sent < 64 * 1024 * 1024:
            try:
                async with asyncio.timeout(2):
                    await connection.send(bytes(MAX_FRAME_BYTES))
            except TimeoutError:
                return
            sent += MAX_FRAME_BYTES
        pytest.fail("the runner took 64 MiB for a server that reads nothing")


async def test_bytes_after_the_end_close_the_connection(shared: Runner) -> None:
    async with server(shared, SILENT) as port, connected(shared, port) as connection:
        for frame in (b"x", END, END, b"y"):
            await connection.send(frame)
        assert await until_closed(connection) == (b"", CloseCode.BAD_FRAME)
    assert "Traceback" not in shared.log


async def test_a_session_has_a_bound_of_connections(shared: Runner) -> None:
    async with server(shared, SILENT) as port, AsyncExitStack() as stack:
        for _ in range(MAX_CONNECTIONS):
            await stack.enter_async_context(connected(shared, port))
        assert await status_of(shared, port) == 429


async def test_the_list_names_the_ports_of_the_agent_only(shared: Runner) -> None:
    async with server(shared, ECHO) as port:
        answer = await shared.call("/workspace", b'{"op": "ports"}\n')
        found = answer.json()["ports"]
        assert [each["port"] for each in found] == [port]
        assert f"server-{port}.py" in found[0]["command"]
        assert found[0]["since"] > 1_700_000_000


def held_by(pid: int) -> list[ListeningSocket]:
    sockets = listening_sockets()
    holders = socket_holders({each.inode for each in sockets}, [pid])
    return [each for each in sockets if each.inode in holders]
