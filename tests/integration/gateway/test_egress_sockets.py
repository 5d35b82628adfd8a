"""The egress sockets of registered sandboxes: whose policy applies, and when connections are cut."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from jelmore_protocol.gateway import EGRESS_SOCKET, EgressConfig, GatewayConfig, sandbox_key
from tests.integration.gateway.egress_world import DEADLINE_S, Internet, hang_up, noting, read_all
from tests.integration.gateway.world import OTHER, SESSION, World
from tests.unit.gateway.test_client_hello import real_hello

PACKAGES = ["packages.example", "*.mirror.example"]


@pytest.fixture
async def net(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    """The internet of the world's gateway, with one host that takes everything."""
    net = Internet()
    ways = world.gateway._ways
    monkeypatch.setattr(ways, "dial", net.dial)
    monkeypatch.setattr(type(ways.resolve), "__call__", lambda _, name: net.resolve(name))
    server = await asyncio.start_server(noting(bytearray()), "127.0.0.1", 0)
    net.ports["93.184.216.34", 443] = server.sockets[0].getsockname()[1]
    for name in ("packages.example", "own.example"):
        net.host(name)
    yield net
    server.close()


async def tunnel(socket: Path, host: str) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
    """Ask for a tunnel; return the status line."""
    reader, writer = await asyncio.open_unix_connection(str(socket.with_name(EGRESS_SOCKET)))
    writer.write(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE_S):
        line = await reader.readline()
        await reader.readuntil(b"\r\n\r\n" if b" 4" in line else b"\r\n")
    return line.decode(), reader, writer


async def status(socket: Path, host: str) -> int:
    line, _, writer = await tunnel(socket, host)
    await hang_up(writer)
    return int(line.split()[1])


async def test_each_sandbox_has_its_own_policy(world: World, net: Internet) -> None:
    await world.gateway.configure(GatewayConfig(digest="1", package_hosts=PACKAGES))
    none = await world.register()
    packages = await world.register(OTHER, network={"mode": "packages"})
    custom = await world.register(OTHER, 2, network={"mode": "custom", "allow": ["own.example"]})
    assert [await status(each, "packages.example") for each in (none, packages, custom)] == [403, 200, 403]
    assert [await status(each, "own.example") for each in (none, packages, custom)] == [403, 403, 200]
    line, _, writer = await tunnel(none, "own.example")
    await hang_up(writer)
    assert "this session has no network" in line


async def test_a_held_sandbox_reaches_nothing_and_then_what_its_session_may(world: World, net: Internet) -> None:
    network = {"mode": "custom", "allow": ["own.example"]}
    socket = await world.register(held=True, network=network)
    assert await status(socket, "own.example") == 403
    await world.register(network=network)
    assert await status(socket, "own.example") == 200


async def test_a_policy_changes_while_connections_are_open(world: World, net: Internet) -> None:
    socket = await world.register(network={"mode": "custom", "allow": ["own.example"]})
    line, reader, writer = await tunnel(socket, "own.example")
    assert " 200 " in line
    writer.write(real_hello("own.example"))
    await world.register(network={"mode": "none"})
    async with asyncio.timeout(DEADLINE_S):
        assert await read_all(reader) == b""
    await hang_up(writer)
    assert await status(socket, "own.example") == 403
    await world.register(network={"mode": "open"})
    assert await status(socket, "own.example") == 200


async def test_the_deployments_package_hosts_apply_at_once(world: World, net: Internet) -> None:
    socket = await world.register(network={"mode": "packages"})
    assert await status(socket, "packages.example") == 403
    await world.gateway.configure(GatewayConfig(digest="1", package_hosts=PACKAGES))
    assert await status(socket, "packages.example") == 200
    with pytest.raises(ValidationError, match="nonsense"):
        EgressConfig(denied_networks=["nonsense"])
    denied = EgressConfig(denied_networks=["93.184.216.0/24"])
    await world.gateway.configure(GatewayConfig(digest="2", package_hosts=PACKAGES, egress=denied))
    assert await status(socket, "packages.example") == 403
    await world.gateway.configure(GatewayConfig(digest="3"))
    assert await status(socket, "packages.example") == 403


async def test_a_revocation_cuts_and_a_restart_keeps_it_so(world: World, net: Internet) -> None:
    socket = await world.register(network={"mode": "open"})
    line, reader, writer = await tunnel(socket, "own.example")
    assert " 200 " in line
    await world.gateway.revoke([sandbox_key(SESSION, 1)])
    async with asyncio.timeout(DEADLINE_S):
        assert await read_all(reader) == b""
    await hang_up(writer)
    assert await status(socket, "own.example") == 403
    await world.restart()
    assert await status(socket, "own.example") == 403


async def test_a_mode_that_is_not_known_is_refused_at_the_registration(world: World) -> None:
    with pytest.raises(ValidationError, match="mode"):
        await world.register(network={"mode": "everything-and-more"})


async def test_a_refusal_is_recorded_with_its_host_port_and_reason_and_a_flood_is_thinned(
    world: World, net: Internet
) -> None:
    socket = await world.register(network={"mode": "custom", "allow": ["own.example"]})
    for _ in range(5):
        assert await status(socket, "Evil.example") == 403
    assert await status(socket, "worse.example") == 403
    async with asyncio.timeout(DEADLINE_S):
        while len(found := await world.state.calls_after(0)) < 2:
            await asyncio.sleep(0.01)
    refusals = [(call.host, call.port, call.tool, call.unreported) for call in found]
    assert refusals == [("evil.example", 443, "host_not_allowed", 0), ("worse.example", 443, "host_not_allowed", 4)]
