"""Refused connections that wait in the gateway until a person decides."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jelmore_gateway.egress import holds
from jelmore_gateway.egress.holds import DecidedError, Holds, UnknownHoldError
from jelmore_protocol.gateway import EGRESS_SOCKET, EgressConfig, EgressDecision, GatewayConfig, HeldCause, HeldRequest
from tests.integration.gateway.egress_world import DEADLINE_S, Internet, hang_up, noting, read_all
from tests.integration.gateway.world import OTHER, SESSION, World
from tests.unit.gateway.test_client_hello import real_hello

ASK = {"mode": "none", "ask": ["*"]}
ALLOW = EgressDecision(session_id=SESSION, decision="allow", by="key_a")
REMEMBER = EgressDecision(session_id=SESSION, decision="allow", remember=True)
DENY = EgressDecision(session_id=SESSION, decision="deny", message="not that one")


@pytest.fixture
async def net(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Internet]:
    """The internet of the world's gateway, with one host that takes everything."""
    net = Internet()
    ways = world.gateway._ways
    monkeypatch.setattr(ways, "dial", net.dial)
    monkeypatch.setattr(type(ways.resolve), "__call__", lambda _, name: net.resolve(name))
    server = await asyncio.start_server(noting(bytearray()), "127.0.0.1", 0)
    for port in (443, 5432):
        net.ports["93.184.216.34", port] = server.sockets[0].getsockname()[1]
    for name in ("own.example", "other.example"):
        net.host(name)
    net.host("inside.example", "10.0.0.1")
    yield net
    server.close()


class Asking:
    """A client that asks for a tunnel; `line` is the answer's status line once it comes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, socket: Path, host: str, port: int = 443) -> "Asking":
        reader, writer = await asyncio.open_unix_connection(str(socket.with_name(EGRESS_SOCKET)))
        writer.write(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        return cls(reader, writer)

    async def line(self) -> str:
        async with asyncio.timeout(DEADLINE_S):
            return (await self.reader.readline()).decode()

    async def leave(self) -> None:
        await hang_up(self.writer)


async def held(world: World, count: int = 1) -> list[HeldRequest]:
    """Return what waits once it is `count` requests."""
    revision = ""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            page = await world.gateway.holds.page(revision, 1)
            waiting = [each for each in page.requests if each.cause is None]
            if len(waiting) == count:
                return waiting
            revision = page.revision


async def clients(world: World, count: int) -> None:
    """Wait until `count` clients wait."""
    async with asyncio.timeout(DEADLINE_S):
        while sum(hold.waiting for hold in world.gateway.holds._holds.values()) != count:
            await asyncio.sleep(0.01)


async def cause(world: World, request_id: str) -> HeldCause | None:
    page = await world.gateway.holds.page("", 0)
    return next(each.cause for each in page.requests if each.id == request_id)


async def test_a_refused_connection_waits_and_goes_on_when_a_person_allows_it_once(world: World, net: Internet) -> None:
    socket = await world.register(network=ASK)
    first, second = await Asking.open(socket, "own.example"), await Asking.open(socket, "own.example")
    await clients(world, 2)
    (request,) = await held(world)
    assert (request.host, request.port, request.method) == ("own.example", 443, "CONNECT")
    assert net.lookups == []  # a look-up could carry data out
    assert world.gateway.holds.decide(request.id, ALLOW).cause is HeldCause.ANSWERED
    assert " 200 " in await first.line()
    assert " 200 " in await second.line()
    third = await Asking.open(socket, "own.example")
    (again,) = await held(world)
    assert again.id != request.id
    for each in (first, second, third):
        await each.leave()


async def test_a_denied_connection_is_refused_with_the_reason_and_not_asked_again(world: World, net: Internet) -> None:
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    world.gateway.holds.decide(request.id, DENY)
    for each in (asking, await Asking.open(socket, "own.example")):
        line = await each.line()
        assert line.startswith("HTTP/1.1 403 a person denied the connection to own.example:443: not that one")
        await each.leave()
    assert net.dialled == []
    with pytest.raises(DecidedError):
        world.gateway.holds.decide(request.id, ALLOW)


async def test_nobody_decides_in_time(world: World, net: Internet) -> None:
    await world.gateway.configure(GatewayConfig(digest="1", egress=EgressConfig(ask_s=0.2)))
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    assert "403 a person must allow own.example:443, and nobody did within 0.2 seconds" in await asking.line()
    assert await cause(world, request.id) is HeldCause.EXPIRED
    await asking.leave()


async def test_allowed_for_the_session_until_that_is_taken_back(world: World, net: Internet) -> None:
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    world.gateway.holds.decide(request.id, REMEMBER)
    assert " 200 " in await asking.line()
    more = await Asking.open(socket, "own.example")  # before the manager has registered the session again
    assert " 200 " in await more.line()
    await world.register(network={**ASK, "approved": ["own.example:443"]})
    later = await Asking.open(socket, "own.example")
    assert " 200 " in await later.line()
    for each in (asking, more, later):
        each.writer.write(real_hello("own.example"))
    await world.register(network=ASK)
    for each in (asking, more, later):
        async with asyncio.timeout(DEADLINE_S):
            assert await read_all(each.reader) == b"\r\n"  # the end of the head, then the cut
        await each.leave()
    again = await Asking.open(socket, "own.example")
    await held(world)
    await again.leave()


async def test_a_connection_that_was_allowed_once_outlives_other_decisions_and_not_the_right_to_ask(
    world: World, net: Internet
) -> None:
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    world.gateway.holds.decide(request.id, ALLOW)
    assert " 200 " in await asking.line()
    await asking.reader.readline()
    await world.register(network={**ASK, "approved": ["other.example:443"]})
    asking.writer.write(real_hello("own.example"))
    await asyncio.sleep(0)
    assert not asking.reader.at_eof()
    await world.register(network={"mode": "none"})
    async with asyncio.timeout(DEADLINE_S):
        assert await read_all(asking.reader) == b""
    await asking.leave()


@pytest.mark.parametrize(
    ("network", "status", "found"),
    [
        ({"mode": "custom", "allow": ["own.example"], "ask": ["*"]}, 200, HeldCause.WITHDRAWN),
        ({"mode": "none"}, 403, HeldCause.WITHDRAWN),
    ],
)
async def test_a_changed_network_decides_what_waits(
    world: World, net: Internet, network: dict[str, object], status: int, found: HeldCause
) -> None:
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    await world.register(network=network)
    assert f" {status} " in await asking.line()
    assert await cause(world, request.id) is found
    await asking.leave()


async def test_internal_addresses_are_refused_whoever_allows_them(world: World, net: Internet) -> None:
    socket = await world.register(network={"mode": "none", "ask": ["*", "10.0.0.1", "93.184.216.34"]})
    literal = await Asking.open(socket, "10.0.0.1")
    assert "403 10.0.0.1 leads to 10.0.0.1, which is blocked (private)" in await literal.line()
    asking = await Asking.open(socket, "inside.example")
    (request,) = await held(world)
    world.gateway.holds.decide(request.id, REMEMBER)
    assert "403 inside.example leads to 10.0.0.1, which is blocked (private)" in await asking.line()
    assert net.dialled == []
    for each in (literal, asking):
        await each.leave()


@pytest.mark.parametrize(
    ("host", "port"), [("own.example", 22), ("own.example", 5433), ("localhost", 443), ("93.184.216.34", 443)]
)
async def test_what_may_not_be_asked_for_is_refused_at_once(world: World, net: Internet, host: str, port: int) -> None:
    socket = await world.register(network={"mode": "none", "ask": ["*", "own.example:5432"]})
    asking = await Asking.open(socket, host, port)
    assert " 403 this session has no network" in await asking.line()
    await asking.leave()


async def test_a_port_that_is_named_may_be_asked_for(world: World, net: Internet) -> None:
    socket = await world.register(network={"mode": "none", "ask": ["own.example:5432"]})
    asking = await Asking.open(socket, "own.example", 5432)
    (request,) = await held(world)
    world.gateway.holds.decide(request.id, ALLOW)
    assert " 200 " in await asking.line()
    await asking.leave()


async def test_a_client_that_gives_up_and_connects_again_finds_its_request(
    world: World, net: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    await asking.leave()
    await clients(world, 0)
    again = await Asking.open(socket, "own.example")
    await clients(world, 1)
    assert (await held(world)) == [request]
    await again.leave()
    await clients(world, 0)
    world.gateway.holds.decide(request.id, ALLOW)  # while nobody waits: for the next connection
    third = await Asking.open(socket, "own.example")
    assert " 200 " in await third.line()
    await third.leave()
    monkeypatch.setattr(holds, "LEAVE_S", 0.05)
    fourth = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    await fourth.leave()
    await held(world, 0)
    assert await cause(world, request.id) is HeldCause.WITHDRAWN


async def test_only_so_many_targets_of_a_session_wait(world: World, net: Internet) -> None:
    socket, other = await world.register(network=ASK), await world.register(OTHER, network=ASK)
    waiting = [await Asking.open(socket, f"h{number}.example") for number in range(holds.MAX_HELD_OF_SESSION)]
    await held(world, holds.MAX_HELD_OF_SESSION)
    one_more = await Asking.open(socket, "more.example")
    assert "403 more.example:443 must be allowed by a person, and too many requests wait" in await one_more.line()
    neighbour = await Asking.open(other, "own.example")
    await held(world, holds.MAX_HELD_OF_SESSION + 1)
    for each in (*waiting, one_more, neighbour):
        await each.leave()


async def test_a_decision_counts_for_its_own_session_only(world: World, net: Internet) -> None:
    socket = await world.register(network=ASK)
    asking = await Asking.open(socket, "own.example")
    (request,) = await held(world)
    with pytest.raises(UnknownHoldError):
        world.gateway.holds.decide(request.id, ALLOW.model_copy(update={"session_id": OTHER}))
    with pytest.raises(UnknownHoldError):
        world.gateway.holds.decide("egress-other", ALLOW)
    world.gateway.holds.forget(request.id)  # not while it waits
    assert (await held(world)) == [request]
    await asking.leave()


async def test_a_plain_request_keeps_its_body_while_it_waits(world: World, net: Internet) -> None:
    socket = await world.register(network=ASK)
    heads: list[bytes] = []
    bodies: list[bytes] = []

    async def host(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        bodies.append(await reader.readexactly(5))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await hang_up(writer)

    server = await asyncio.start_server(host, "127.0.0.1", 0)
    net.ports["93.184.216.34", 80] = server.sockets[0].getsockname()[1]
    reader, writer = await asyncio.open_unix_connection(str(socket.with_name(EGRESS_SOCKET)))
    writer.write(b"POST http://own.example/x HTTP/1.1\r\nHost: own.example\r\nContent-Length: 5\r\n\r\n")
    (request,) = await held(world)
    assert (request.method, request.port) == ("POST", 80)
    writer.write(b"hello")
    world.gateway.holds.decide(request.id, ALLOW)
    async with asyncio.timeout(DEADLINE_S):
        assert (await read_all(reader)).startswith(b"HTTP/1.1 204 ")
    assert heads[0].startswith(b"POST /x HTTP/1.1\r\n")
    assert bodies == [b"hello"]
    await hang_up(writer)
    server.close()


async def test_a_manager_that_waits_for_changes_gets_them_at_once_and_is_let_go_at_the_end() -> None:
    table = Holds()
    started = asyncio.get_running_loop().time()
    waiting = asyncio.create_task(table.page(table.revision, 30), name="waiting manager")
    await asyncio.sleep(0)
    table.close()
    page = await waiting
    assert (page.requests, page.revision) == ([], table.revision)
    assert asyncio.get_running_loop().time() - started < DEADLINE_S
    assert (await table.page("another", 30)).revision == table.revision
