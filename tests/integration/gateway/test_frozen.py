"""A gateway that is frozen, and one that is killed, while all that it carries is under way."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

import aiohttp
import pytest
from aiohttp import web

from jelmore.drivers.gateway_link import GatewayLink
from jelmore_protocol.gateway import (
    EGRESS_SOCKET,
    MODEL_SOCKET,
    EgressConfig,
    GatewayConfig,
    Registration,
    Route,
    sandbox_key,
)
from jelmore_protocol.network import Network
from tests.integration.gateway.egress_world import hang_up, read_all
from tests.integration.gateway.test_process import call, process
from tests.integration.gateway.world import SESSION, ModelApi, serving
from tests.support.http_servers import listening

pytestmark = pytest.mark.integration

KEY: Final = sandbox_key(SESSION, 1)
HOST: Final = "127.9.9.9"
FROZEN_S: Final = 1.5


@dataclass
class Hosts:
    """What the gateway leads to: a model, an MCP server that streams, and a host that returns what it receives."""

    model: ModelApi = field(default_factory=ModelApi)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    mcp_port: int = 0
    echo_port: int = 0

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: first\n\n")
        await self.go_on.wait()
        await response.write(b"data: last\n\n")
        return response


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
    await hang_up(writer)


@asynccontextmanager
async def hosts(folder: Path) -> AsyncIterator[Hosts]:
    made, app = Hosts(), web.Application()
    app.router.add_route("*", "/{path:.*}", made.stream)
    server = await asyncio.start_server(echo, HOST, 0)
    made.echo_port = server.sockets[0].getsockname()[1]
    async with server, serving(made.model.app(), folder / "api.sock"), listening(app) as made.mcp_port:
        yield made


async def prepare(folder: Path, at: Hosts) -> None:
    """Register a sandbox that may use all of it."""
    link = GatewayLink(folder / "gateway" / "control.sock")
    allow = [f"{HOST}:{at.echo_port}"]
    network = Network.model_validate({"mode": "custom", "allow": allow})
    await link.register(KEY, Registration(session_id=SESSION, generation=1, network=network))
    routes = [Route(name="mcp/docs", url=f"http://127.0.0.1:{at.mcp_port}/", private=True)]
    egress = EgressConfig(allowed_networks=[f"{HOST}/32"])
    await link.configure(GatewayConfig(digest="1", routes=routes, egress=egress))


class Open:
    """A response of the model, one of an MCP server and a tunnel, all under way."""

    def __init__(self, folder: Path, at: Hosts) -> None:
        self._folder, self._at = folder / "gateway" / KEY, at

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(str(self._folder / MODEL_SOCKET))
        self.client = aiohttp.ClientSession(connector=connector)
        headers = {"X-Stainless-Script": "stream"}
        self.model = await self.client.post("http://gateway/v1/messages", data=b"{}", headers=headers)
        assert b"message_start" in await self.model.content.readuntil(b"\n\n")
        self.mcp = await self.client.post("http://gateway/mcp/docs", json={"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert await self.mcp.content.readuntil(b"\n\n") == b"data: first\n\n"
        self.reader, self.writer = await asyncio.open_unix_connection(str(self._folder / EGRESS_SOCKET))
        self.writer.write(f"CONNECT {HOST}:{self._at.echo_port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert b" 200 " in await self.reader.readuntil(b"\r\n\r\n")
        await self.echoed(b"before")
        return self

    async def __aexit__(self, *_: object) -> None:
        for response in (self.model, self.mcp):
            response.close()
        await self.client.close()
        await hang_up(self.writer)

    async def echoed(self, data: bytes) -> None:
        self.writer.write(data)
        assert await self.reader.readexactly(len(data)) == data


@pytest.mark.timeout(60)
async def test_what_a_frozen_gateway_carries_goes_on_when_it_does(folder: Path) -> None:
    async with hosts(folder) as at, process(folder) as started:
        await prepare(folder, at)
        async with Open(folder, at) as carried:
            started.send_signal(signal.SIGSTOP)
            try:
                at.model.go_on.set()
                at.go_on.set()
                carried.writer.write(b"meanwhile")
                late = asyncio.create_task(call(folder / "gateway" / KEY / MODEL_SOCKET), name="late")
                await asyncio.sleep(FROZEN_S)
                assert not late.done(), "the kernel holds it, and does not refuse it"
            finally:
                started.send_signal(signal.SIGCONT)
            assert b"message_stop" in await carried.model.read()
            assert await carried.mcp.read() == b"data: last\n\n"
            assert await carried.reader.readexactly(9) == b"meanwhile"
            assert await late == 200


@pytest.mark.timeout(60)
async def test_what_a_killed_gateway_carried_ends_at_once_and_begins_again_with_the_next(folder: Path) -> None:
    async with hosts(folder) as at:
        async with process(folder) as started:
            await prepare(folder, at)
            async with Open(folder, at) as carried:
                started.kill()
                async with asyncio.timeout(5):
                    for response in (carried.model, carried.mcp):
                        with pytest.raises(aiohttp.ClientError):
                            await response.read()  # no caller takes half a response for a whole one
                    assert await read_all(carried.reader) == b""
        at.model.go_on.clear()
        at.go_on.clear()
        async with process(folder), Open(folder, at) as again:  # nobody has registered or configured anything since
            await again.echoed(b"after")


@pytest.mark.timeout(60)
async def test_a_revocation_without_a_manager_cuts_all_that_is_carried(folder: Path) -> None:
    """As the command that revokes a key does it where no manager runs: by the gateway's own socket."""
    async with hosts(folder) as at, process(folder):
        await prepare(folder, at)
        async with Open(folder, at) as carried:
            began = asyncio.get_running_loop().time()
            await GatewayLink(folder / "gateway" / "control.sock").revoke([KEY])
            for response in (carried.model, carried.mcp):
                with pytest.raises(aiohttp.ClientError):
                    await response.read()
            assert await read_all(carried.reader) == b""
            assert asyncio.get_running_loop().time() - began < 2
        assert await call(folder / "gateway" / KEY / MODEL_SOCKET) == 403
