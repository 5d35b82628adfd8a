"""No sandbox can take the gateway's file descriptors: connections are bounded, and some descriptors are reserved."""

import asyncio
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from aiohttp import web

from jelmore_gateway.egress_socket import MAX_REFUSED, EgressSocket, EgressWays, RecordWriter
from jelmore_gateway.listener import MAX_CONNECTIONS, Listener
from jelmore_gateway.state import State
from jelmore_protocol.gateway import GatewayConfig, SandboxEntry
from tests.integration.gateway.world import SESSION
from tests.integration.test_accepting import MAX_OPEN, REQUEST, few_descriptors

pytestmark = pytest.mark.integration


async def hello(_: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="hello")


async def idle(path: Path, stack: ExitStack, most: int) -> bytes:
    """Open connections that send nothing, until one is refused; return what it got."""
    for _ in range(most):
        reader, writer = await asyncio.open_unix_connection(path)
        stack.callback(writer.close)
        try:
            async with asyncio.timeout(0.02):
                return await reader.read(4096)
        except TimeoutError:
            continue
        except ConnectionError:
            return b"cut"
    return b"never refused"


async def answer(path: Path, stack: ExitStack) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    stack.callback(writer.close)
    writer.write(REQUEST)
    async with asyncio.timeout(10):
        return await reader.read(4096)


async def test_a_listener_has_a_bound_of_its_own_and_others_are_served(tmp_path: Path) -> None:
    flooded, other = Listener(hello), Listener(hello)
    await flooded.open_path(tmp_path / "a.sock")
    await other.open_path(tmp_path / "b.sock")
    with ExitStack() as stack:
        refused = await idle(tmp_path / "a.sock", stack, MAX_CONNECTIONS + 1)
        assert refused.startswith(b"HTTP/1.1 503 ")
        assert b'"api_error"' in refused, "Claude Code tries again"
        assert (await answer(tmp_path / "b.sock", stack)).startswith(b"HTTP/1.1 200 ")
    flooded.close()
    other.close()


async def test_a_listener_keeps_descriptors_in_reserve(tmp_path: Path) -> None:
    listeners = [Listener(hello) for _ in range(3)]
    for number, listener in enumerate(listeners):
        await listener.open_path(tmp_path / f"{number}.sock")
    with few_descriptors(), ExitStack() as stack:
        refused = [await idle(tmp_path / f"{number}.sock", stack, MAX_OPEN) for number in range(3)]
        assert refused[-1].startswith(b"HTTP/1.1 503 ")
        with (tmp_path / "state").open("w") as kept:  # the process itself can still open what it needs
            kept.write("x")
    for listener in listeners:
        listener.close()


@pytest.mark.parametrize("scarce", [False, True])
async def test_an_egress_socket_cuts_what_is_too_much(tmp_path: Path, *, scarce: bool) -> None:
    entry = SandboxEntry(key="0" * 16, session_id=SESSION, generation=1)
    socket = EgressSocket(EgressWays(), RecordWriter(State(tmp_path / "state")), entry, GatewayConfig(digest=""))
    await socket.open_path(tmp_path / "e.sock")
    most = MAX_OPEN if scarce else GatewayConfig(digest="").egress.connections + MAX_REFUSED + 8
    with ExitStack() as stack:
        if scarce:
            stack.enter_context(few_descriptors())
        opened = []
        for _ in range(most):
            opened.append(await asyncio.open_unix_connection(tmp_path / "e.sock"))
            stack.callback(opened[-1][1].close)
            if scarce and opened[-1][1].get_extra_info("socket").fileno() > MAX_OPEN - 8:
                break
        reader = opened[-1][0]
        async with asyncio.timeout(5):
            with suppress(ConnectionError):
                assert await reader.read() == b""
        with (tmp_path / "kept").open("w") as kept:
            kept.write("x")
    socket.close()
