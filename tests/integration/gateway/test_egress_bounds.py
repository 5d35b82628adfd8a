"""What hangs, says nothing or is endless on one side of the egress proxy: bounded, and no neighbour notices."""

import asyncio
import resource
from contextlib import suppress
from typing import Final

import pytest

from jelmore_gateway.egress import Deadlines, EgressLimits, EgressSession
from jelmore_gateway.egress.addresses import Address
from jelmore_gateway.egress.limits import LOOKUPS_EACH, MAX_HEAD_BYTES
from jelmore_gateway.egress.policy import Policy
from jelmore_protocol.network import Network
from tests.integration.gateway.egress_world import (
    DEADLINE_S,
    World,
    answering,
    hang_up,
    internet,
    noting,
    read_all,
)
from tests.unit.gateway.test_client_hello import real_hello

pytestmark = pytest.mark.integration

GET: Final = b"GET http://fast.example/ HTTP/1.1\r\nHost: fast.example\r\n\r\n"


class Neighbour:
    """A second session of the same proxy, on a port of its own."""

    def __init__(self, world: World, limits: EgressLimits | None = None) -> None:
        self.world = world
        self.session = EgressSession("the-neighbour", limits=limits or EgressLimits())
        self.session.set_policy(Policy.of(Network.model_validate({"mode": "open"})))

    async def get(self) -> bytes:
        """Make a request of its own and return the answer."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self.world.proxy.serve(reader, writer, self.session)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server, asyncio.timeout(DEADLINE_S):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname()[:2])
            writer.write(GET)
            answer = await reader.readuntil(b"hello")
            await hang_up(writer)
        return answer


async def test_lookups_that_hang_are_few_and_hold_up_no_other_session() -> None:
    async with internet("open", deadlines=Deadlines(resolve_s=0.3)) as world:
        world.internet.host("fast.example")
        await world.serve(answering(), 80)
        resolve, let_go, hanging = world.internet.resolve, asyncio.Event(), [0, 0]

        async def slow(name: str) -> list[Address]:
            if name.startswith("slow"):
                hanging[0] += 1
                hanging[1] = max(hanging)
                await let_go.wait()  # also after the client has its answer: a thread cannot be cancelled
                hanging[0] -= 1
                raise OSError("no answer")
            return await resolve(name)

        world.proxy.resolve = slow
        for _ in range(2):  # those that were given up count too
            request = b"CONNECT slow%d.example:443 HTTP/1.1\r\nHost: x\r\n\r\n"
            answers = await asyncio.gather(*(world.say(request % number) for number in range(20)))
            assert all(answer.startswith(b"HTTP/1.1 502 ") for answer in answers)
            assert hanging == [LOOKUPS_EACH, LOOKUPS_EACH]
        assert b"no answer in time" in (await world.say(GET)), "the session itself waits for its own lookups"
        assert (await Neighbour(world).get()).startswith(b"HTTP/1.1 200 ")
        let_go.set()
        async with asyncio.timeout(DEADLINE_S):
            while hanging[0]:
                await asyncio.sleep(0.01)
        assert (await world.say(GET)).startswith(b"HTTP/1.1 200 ")


async def test_a_host_that_accepts_and_says_nothing_ends_at_the_deadline_of_silence() -> None:
    async with internet("open", deadlines=Deadlines(silence_s=0.5)) as world:
        world.internet.host("mute.example")
        await world.serve(noting(bytearray()), 443)
        (reader, writer), head = await world.tunnel("mute.example:443")
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.write(real_hello("mute.example"))
        async with asyncio.timeout(DEADLINE_S):
            assert await read_all(reader) == b""
        await hang_up(writer)
        await world.settled(0)


async def test_half_open_tunnels_of_one_session_leave_its_neighbour_alone() -> None:
    limits = EgressLimits(connections=64)
    async with internet("open", limits=limits, deadlines=Deadlines(hello_s=3, head_s=3)) as world:
        world.internet.host("fast.example")
        for port in (80, 443):
            await world.serve(answering(), port)
        neighbour = Neighbour(world)
        opened = [await world.connect() for _ in range(500)]
        for at, (_, writer) in enumerate(opened):
            writer.write(b"CONNECT fast.example:443 HTTP/1.1\r\nHost: x\r\n\r\n" if at % 2 else b"CONNECT fast")
        await asyncio.sleep(0.5)
        assert len(world.session.connections) <= 64
        assert len(world.internet.dialled) <= 64
        before = asyncio.get_running_loop().time()
        assert (await neighbour.get()).startswith(b"HTTP/1.1 200 ")
        assert asyncio.get_running_loop().time() - before < 2
        await world.settled(0)  # each phase has a deadline, so all of them end by themselves
        for _, writer in opened:
            await hang_up(writer)


async def test_a_reader_of_one_byte_a_second_holds_a_bounded_buffer() -> None:
    """100 MB are on their way to it. What the proxy does not pass on, the host's own buffers hold back."""
    hello, sent = real_hello("big.example"), [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(hello))
        with suppress(OSError):
            for _ in range(1600):
                writer.write(bytes(64 * 1024))
                await writer.drain()
                sent[0] += 64 * 1024

    async with internet("open") as world:
        world.internet.host("big.example")
        await world.serve(serve, 443)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        (reader, writer), _ = await world.tunnel("big.example:443")
        reader._limit = 1  # type: ignore[attr-defined]  # this side, too, is to hold nothing back for its caller
        writer.write(hello)
        for _ in range(3):
            assert len(await reader.read(1)) == 1
            await asyncio.sleep(1)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert sent[0] < 32 * 1024**2, "the sockets of the kernel hold some megabytes"
        assert grown < 16 * 1024, f"{grown} KiB more memory"
        writer.transport.abort()
        await world.settled(0)


@pytest.mark.parametrize(
    "form", [b"CONNECT a.example:443 HTTP/1.1\r\nX: %s\r\n\r\n", b"GET http://a.example/%s HTTP/1.1\r\n\r\n"]
)
async def test_a_head_of_a_megabyte_is_refused_once_it_is_too_large(form: bytes) -> None:
    async with internet("open") as world:
        world.internet.host("a.example")
        answer = await world.say(form % (b"y" * 1024**2))
        assert answer[:12] in {b"HTTP/1.1 400", b"HTTP/1.1 431", b""}, "the client may still be sending when it is cut"
        assert world.internet.dialled == []
        assert MAX_HEAD_BYTES < 1024**2
        await world.settled(0)


@pytest.mark.parametrize(
    "literal",
    [
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[::ffff:0:7f00:1]",
    ],
)
async def test_ipv6_forms_of_inner_addresses_are_no_way_in(literal: str) -> None:
    async with internet("custom", f"{literal}:443", "*.inner.example") as world:
        world.internet.host("mapped.inner.example", literal.strip("[]"))
        for target in (f"{literal}:443", "mapped.inner.example:443"):
            answer = await world.say(f"CONNECT {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 403 "), target
        assert world.internet.dialled == []


async def test_a_session_with_many_connections_gets_no_more_than_one_with_a_single_one() -> None:
    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()

    got = {"many": 0, "one": 0}

    async def drain(whose: str, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(GET)
            while data := await reader.read(65536):
                got[whose] += len(data)
        finally:
            await hang_up(writer)

    async with internet("open") as world:
        world.internet.host("fast.example")
        await world.serve(pour, 80)
        world.proxy.bandwidth.set_rate(4_000_000)
        neighbour = Neighbour(world).session

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await world.proxy.serve(reader, writer, neighbour)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            own = server.sockets[0].getsockname()[1]
            readers = [asyncio.create_task(drain("many", world.port), name=f"many {each}") for each in range(12)]
            readers.append(asyncio.create_task(drain("one", own), name="one"))
            await asyncio.sleep(3)
            neighbour.close()
            for each in readers:
                each.cancel()
            await asyncio.wait(readers)
    assert min(got.values()) > 1_000_000, got
    assert 0.6 < got["one"] / got["many"] < 1.6, got
