"""The forwarder to the egress socket: bytes pass both ways, and ends are passed on."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from jelmore_runner.egress import EgressForwarder, proxy_environment
from jelmore_runner.settings import Address, read_settings

DEADLINE_S = 10


@asynccontextmanager
async def forwarding(address: Address) -> AsyncIterator[EgressForwarder]:
    forwarder = EgressForwarder(address)
    await forwarder.start()
    task = asyncio.create_task(forwarder.run(), name="egress")
    yield forwarder
    task.cancel()
    await asyncio.wait({task})


async def test_bytes_and_ends_pass_in_both_directions() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        everything = await reader.read()  # until the agent ends its half
        writer.write(b"got " + everything)
        writer.close()
        await writer.wait_closed()

    with tempfile.TemporaryDirectory(prefix="je") as folder:
        path = f"{folder}/e.sock"
        server = await asyncio.start_unix_server(echo, path)
        async with forwarding(Address(path=path)) as forwarder, asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
            writer.write(b"x" * 300_000)
            writer.write_eof()
            assert await reader.read() == b"got " + b"x" * 300_000
            writer.close()
            await writer.wait_closed()
        server.close()


async def test_a_gateway_that_is_away_is_said_so() -> None:
    async with forwarding(Address(path="/nowhere/egress.sock")) as forwarder, asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", forwarder.port)
        writer.write(b"CONNECT example.com:443 HTTP/1.1\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 503 the gateway cannot be reached\r\n")
        writer.close()
        await writer.wait_closed()


def test_loopback_does_not_go_through_the_proxy() -> None:
    assert proxy_environment(0) == {}
    environment = proxy_environment(4711)
    assert environment["https_proxy"] == environment["HTTP_PROXY"] == "http://127.0.0.1:4711"
    assert "127.0.0.1" in environment["NO_PROXY"].split(",")
    assert environment["NO_PROXY"] == environment["no_proxy"]
    assert "-Dhttps.proxyPort=4711" in environment["JAVA_TOOL_OPTIONS"]
    assert "useSystemProperties=true" in environment["MAVEN_ARGS"]


def test_there_is_no_egress_socket_where_the_gateway_is_reached_over_a_network(tmp_path: Path) -> None:
    environ = {
        "JELMORE_RUNNER_CONTROL": "unix:/c.sock",
        "JELMORE_RUNNER_PUBLIC": "unix:/p.sock",
        "JELMORE_RUNNER_SESSION_DIR": str(tmp_path),
        "JELMORE_RUNNER_EGRESS": "unix:/jelmore/gateway/egress.sock",
    }
    by_socket = read_settings({**environ, "JELMORE_RUNNER_GATEWAY": "unix:/jelmore/gateway/model.sock"})
    assert by_socket.egress == Address(path="/jelmore/gateway/egress.sock")
    assert read_settings({**environ, "JELMORE_RUNNER_GATEWAY": "tcp:gateway:80"}).egress is None
