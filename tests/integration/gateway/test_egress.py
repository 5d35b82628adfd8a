"""The egress proxy against servers on loopback that stand in for hosts on the internet."""

import asyncio
import ssl
import time
from pathlib import Path

import httpx
import pytest

from jelmore_gateway.egress import Deadlines, EgressLimits
from tests.integration.gateway.egress_world import (
    DEADLINE_S,
    PUBLIC,
    answering,
    hang_up,
    internet,
    issue,
    noting,
    read_all,
    server_context,
)
from tests.unit.gateway.test_client_hello import real_hello, with_extensions

GET = b"GET http://allowed.example/ HTTP/1.1\r\nHost: allowed.example\r\n\r\n"


async def test_https_reaches_an_allowed_host_through_one_lookup(tmp_path: Path) -> None:
    certificate = issue(tmp_path, "allowed.example")
    async with internet("custom", "allowed.example") as world:
        # A resolver that rebinds: its second answer would be a private address.
        world.internet.names["allowed.example"] = [[PUBLIC], ["10.0.0.1"]]
        await world.serve(answering(b"secret"), 443, tls=server_context(certificate))
        verify = ssl.create_default_context(cafile=str(certificate[0]))
        async with httpx.AsyncClient(proxy=world.url, verify=verify, timeout=DEADLINE_S) as client:
            answer = await client.get("https://allowed.example/x")
        assert answer.text == "secret"
        assert world.internet.lookups == ["allowed.example"]
        assert world.internet.dialled == [(PUBLIC, 443)]
        assert world.records == []


async def test_plain_http_is_sent_again_to_the_parsed_target() -> None:
    heads: list[bytes] = []
    async with internet("custom", "allowed.example") as world:
        world.internet.host("allowed.example")
        await world.serve(answering(heads=heads, extra=b"x-from: host\r\n"), 80)
        answer = await world.say(
            b"GET http://allowed.example/a?b HTTP/1.1\r\nHost: other.example\r\nProxy-Connection: keep-alive\r\n\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert answer.endswith(b"\r\n\r\nhello")
        assert b"x-from: host\r\n" in answer.lower()
        assert heads == [b"GET /a?b HTTP/1.1\r\nhost: allowed.example\r\nconnection: close\r\n\r\n"]


@pytest.mark.parametrize(
    ("request_", "status", "reason"),
    [
        (b"CONNECT other.example:443 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "host_not_allowed"),
        (b"CONNECT 93.184.216.34:443 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "literal_address"),
        (b"CONNECT [::1]:443 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "literal_address"),
        (b"CONNECT allowed.example:22 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "port_not_allowed"),
        (b"CONNECT allowed.example:25 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "port_not_allowed"),
        (b"CONNECT allowed.example:5432 HTTP/1.1\r\nHost: x\r\n\r\n", 403, "port_not_allowed"),
        (b"CONNECT 2130706433:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"CONNECT 0x7f.1:443 HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"GET http://127.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n", 403, "literal_address"),
        (b"GET http://allowed.example:6379/ HTTP/1.1\r\nHost: x\r\n\r\n", 403, "port_not_allowed"),
        (b"GET http://allowed.example@10.0.0.1/ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Upgrade: websocket\r\nConnection: upgrade\r\n\r\n", 403, "upgrade"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400, "bad_request"),
        (GET[:-2] + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Content-Length: +4\r\n\r\nabcd", 400, "bad_request"),
        (GET[:-2] + b"Content-Length: 4, 5\r\n\r\nabcd", 400, "bad_request"),
        (GET[:-2] + b"Content-Length: 0x4\r\n\r\nabcd", 400, "bad_request"),
        (GET[:-2] + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"X: a\0b\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"X: a\rHost: other.example\r\n\r\n", 400, "bad_request"),
        (GET[:-2] + b"X: " + b"y" * 200_000 + b"\r\n\r\n", 400, "bad_request"),
        (b"rubbish\r\n\r\n", 400, "bad_request"),
        (b"GET http://gone.example/ HTTP/1.1\r\nHost: x\r\n\r\n", 502, "name_not_found"),
        (b"GET http://down.example/ HTTP/1.1\r\nHost: x\r\n\r\n", 502, "connect_failed"),
    ],
)
async def test_refused_with_a_reason_that_an_agent_can_read(request_: bytes, status: int, reason: str) -> None:
    heads: list[bytes] = []
    async with internet("custom", "allowed.example", "gone.example", "down.example") as world:
        world.internet.host("allowed.example")
        world.internet.host("down.example", "93.184.216.35")
        await world.serve(answering(heads=heads), 80)
        answer = await world.say(request_)
        line, _, rest = answer.partition(b"\r\n")
        assert line.split(b" ")[1] == str(status).encode(), answer[:200]
        assert f"x-jelmore-egress: {reason}".encode() in rest.lower()
        assert world.records[0].text.encode() in rest
        assert world.reasons() == [reason]
        assert heads == []


@pytest.mark.parametrize(
    "addresses",
    [
        ["10.0.0.1"],
        [PUBLIC, "10.0.0.1"],
        ["10.0.0.1", PUBLIC],
        ["169.254.169.254"],
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["64:ff9b::7f00:1"],
        ["2002:7f00:1::"],
        ["93.184.216.99"],
    ],
)
@pytest.mark.parametrize("mode", ["custom", "open"])
async def test_no_address_of_an_allowed_name_may_be_internal(mode: str, addresses: list[str]) -> None:
    async with internet(mode, "allowed.example") as world:
        world.internet.host("allowed.example", *addresses)
        for request in (GET, b"CONNECT allowed.example:443 HTTP/1.1\r\nHost: x\r\n\r\n"):
            assert (await world.say(request)).startswith(b"HTTP/1.1 403 ")
        assert set(world.reasons()) == {"address_denied"}
        assert world.internet.dialled == []


@pytest.mark.parametrize(
    ("hello", "reason"),
    [
        (real_hello("other.example"), "server_name_differs"),
        (real_hello("www.allowed.example"), "server_name_differs"),
        (real_hello(None), "server_name_differs"),
        (with_extensions(real_hello("allowed.example"), (0xFE0D, b"\x00" + b"e" * 60)), "encrypted_hello"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "not_tls"),
        (b"GET / HTTP/1.1\r\nHost: other.example\r\n\r\n", "not_tls"),
        (b"\x16\x03\x01\x00\x00", "not_tls"),
    ],
)
async def test_a_tunnel_carries_tls_to_its_target_and_nothing_else(hello: bytes, reason: str) -> None:
    received = bytearray()
    async with internet("open") as world:
        world.internet.host("allowed.example")
        await world.serve(noting(received), 443)
        (reader, writer), head = await world.tunnel("allowed.example:443")
        assert head.startswith(b"HTTP/1.1 200 ")
        writer.write(hello)
        async with asyncio.timeout(DEADLINE_S):
            answer = await read_all(reader)
        await hang_up(writer)
        assert answer[:1] == b"\x15", "a TLS alert"
        assert world.reasons() == [reason]
    assert received == b""


async def test_a_hello_in_pieces_passes_whole() -> None:
    received, hello = bytearray(), real_hello("allowed.example")
    async with internet("open") as world:
        world.internet.host("allowed.example")
        await world.serve(noting(received), 443)
        (reader, writer), _ = await world.tunnel("allowed.example:443")
        for byte in hello:
            writer.write(bytes((byte,)))
            await writer.drain()
        writer.write(b"more")
        writer.write_eof()
        async with asyncio.timeout(DEADLINE_S):
            assert await read_all(reader) == b""
        await hang_up(writer)
    assert bytes(received) == hello + b"more"


async def test_only_the_first_of_several_requests_is_served() -> None:
    heads: list[bytes] = []
    async with internet("custom", "allowed.example") as world:
        world.internet.host("allowed.example")
        await world.serve(answering(heads=heads), 80)
        answer = await world.say(GET + GET.replace(b"/ HTTP", b"/two HTTP"))
        assert answer.count(b"HTTP/1.1 200") == 1
    assert len(heads) == 1


async def test_a_redirect_to_a_private_address_is_refused_when_followed() -> None:
    async with internet("open") as world:
        world.internet.host("allowed.example")
        world.internet.host("inside.example", "192.168.1.1")

        async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            to = b"inside.example" if b"/name" in head else b"169.254.169.254"
            writer.write(b"HTTP/1.1 302 Found\r\nlocation: http://%s/\r\ncontent-length: 0\r\n\r\n" % to)
            await hang_up(writer)

        await world.serve(redirect, 80)
        async with httpx.AsyncClient(proxy=world.url, follow_redirects=True, timeout=DEADLINE_S) as client:
            for path in ("name", "literal"):
                answer = await client.get(f"http://allowed.example/{path}")
                assert answer.status_code == 403
        assert world.reasons() == ["address_denied", "literal_address"]


@pytest.mark.parametrize(
    ("drip", "opening"),
    [(b"GET http://allowed.example/ HTTP/1.1\r\nX: yyyyyyyyyyyy", None), (real_hello("allowed.example"), "tunnel")],
    ids=["head", "hello"],
)
async def test_a_slow_drip_is_ended_by_the_phase_deadline(drip: bytes, opening: str | None) -> None:
    deadlines = Deadlines(head_s=0.5, hello_s=0.5)
    async with internet("open", deadlines=deadlines) as world:
        world.internet.host("allowed.example")
        await world.serve(noting(bytearray()), 443)
        if opening:
            (reader, writer), _ = await world.tunnel("allowed.example:443")
        else:
            reader, writer = await world.connect()
        ended = asyncio.create_task(read_all(reader), name="end")
        sent = 0
        async with asyncio.timeout(DEADLINE_S):
            while not ended.done():
                writer.write(drip[sent % len(drip) :][:1] if sent < len(drip) - 1 else b"")
                sent += 1
                await asyncio.sleep(0.05)
        await ended
        await hang_up(writer)


async def test_a_large_download_arrives_whole_at_a_slow_reader() -> None:
    body = bytes(range(256)) * 16_384

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(len(hello))
        writer.write(body)
        await hang_up(writer)

    hello = real_hello("allowed.example")
    async with internet("open") as world:
        world.internet.host("allowed.example")
        await world.serve(serve, 443)
        (reader, writer), _ = await world.tunnel("allowed.example:443")
        writer.write(hello)
        got = bytearray()
        async with asyncio.timeout(DEADLINE_S):
            while chunk := await reader.read(8192):
                got += chunk
                await asyncio.sleep(0)
        await hang_up(writer)
        assert got == body
        assert world.session.bytes_used == len(body) + len(hello)


async def test_another_protocol_passes_where_its_port_is_listed() -> None:
    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 ready\r\n")
        writer.write(await reader.readline())
        await hang_up(writer)

    async with internet("custom", "allowed.example:2525") as world:
        world.internet.host("allowed.example")
        await world.serve(greet, 2525)
        (reader, writer), _ = await world.tunnel("allowed.example:2525")
        async with asyncio.timeout(DEADLINE_S):
            assert await reader.readline() == b"220 ready\r\n"
            writer.write(b"EHLO me\r\n")
            assert await reader.read() == b"EHLO me\r\n"
        await hang_up(writer)
        # TLS on a listed port must still name its target.
        (reader, writer), _ = await world.tunnel("allowed.example:2525")
        writer.write(real_hello("other.example"))
        await read_all(reader)
        await hang_up(writer)
        assert world.reasons() == ["server_name_differs"]


async def test_plain_http_inside_a_tunnel_is_parsed_as_well() -> None:
    heads: list[bytes] = []
    async with internet("custom", "allowed.example") as world:
        world.internet.host("allowed.example")
        await world.serve(answering(heads=heads), 80)
        for host, status in ((b"allowed.example", b"200"), (b"other.example", b"403")):
            (reader, writer), _ = await world.tunnel("allowed.example:80")
            writer.write(b"GET /x HTTP/1.1\r\nHost: %s\r\n\r\n" % host)
            async with asyncio.timeout(DEADLINE_S):
                answer = await read_all(reader)
            await hang_up(writer)
            assert answer.split(b" ")[1] == status
        assert len(heads) == 1
        assert world.reasons() == ["server_name_differs"]


async def test_a_host_that_switches_protocols_unasked_is_cut_off() -> None:
    async def switch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nfree")
        await hang_up(writer)

    async with internet("open") as world:
        world.internet.host("allowed.example")
        await world.serve(switch, 80)
        answer = await world.say(GET)
        assert answer.startswith(b"HTTP/1.1 502 ")
        assert b"free" not in answer


async def test_a_change_of_policy_cuts_what_it_forbids_and_nothing_else() -> None:
    async with internet("custom", "one.example", "two.example") as world:
        for name in ("one.example", "two.example"):
            world.internet.host(name)
        received = bytearray()
        await world.serve(noting(received), 443)
        tunnels = {}
        for name in ("one.example", "two.example"):
            tunnels[name], _ = await world.tunnel(f"{name}:443")
            tunnels[name][1].write(real_hello(name))
        world.allow("custom", "two.example")
        async with asyncio.timeout(DEADLINE_S):
            assert await read_all(tunnels["one.example"][0]) == b""
        await world.settled(1)
        assert world.reasons() == ["policy_changed"]
        assert [str(live.target) for live in world.session.connections] == ["two.example:443"]
        assert (await world.say(b"CONNECT one.example:443 HTTP/1.1\r\nHost: x\r\n\r\n")).startswith(b"HTTP/1.1 403 ")
        world.session.close()
        async with asyncio.timeout(DEADLINE_S):
            assert await read_all(tunnels["two.example"][0]) == b""
        assert (await world.say(GET)).startswith(b"HTTP/1.1 403 ")
        for _, writer in tunnels.values():
            await hang_up(writer)


async def test_connections_and_bytes_are_bounded() -> None:
    async with internet("open", limits=EgressLimits(connections=1, total_bytes=100_000)) as world:
        world.internet.host("allowed.example")
        await world.serve(answering(b"x" * 1_000_000), 80)
        (_, writer), _ = await world.tunnel("allowed.example:80")
        answer = await world.say(GET)
        assert answer.startswith(b"HTTP/1.1 403 ")
        assert b"x-jelmore-egress: too_many_connections" in answer.lower()
        await hang_up(writer)
        await world.settled(0)
        assert len(await world.say(GET)) < 600_000
        await world.settled(0)
        assert b"x-jelmore-egress: bytes_used_up" in (await world.say(GET)).lower()
        assert world.reasons()[-1] == "bytes_used_up"


@pytest.mark.parametrize("port", [443, 80], ids=["tunnel", "plain"])
async def test_what_comes_from_a_host_is_held_to_the_rate(port: int) -> None:
    rate, size = 1_000_000, 400_000

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if port == 80:
            await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n".encode() + b"x" * size)
        await writer.drain()
        await hang_up(writer)

    async with internet("custom", "own.example") as world:
        world.internet.host("own.example")
        world.proxy.bandwidth.set_rate(rate)
        await world.serve(pour, port)
        began = time.monotonic()
        if port == 80:
            got = await world.say(b"GET http://own.example/ HTTP/1.1\r\nHost: own.example\r\n\r\n")
        else:
            (reader, writer), _ = await world.tunnel("own.example:443")
            async with asyncio.timeout(DEADLINE_S):
                got = await read_all(reader)
            await hang_up(writer)
        assert got.count(b"x") >= size
        assert time.monotonic() - began >= size / rate / 2, "the last chunk waits for those before it"
