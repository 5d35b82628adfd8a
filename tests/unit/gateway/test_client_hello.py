"""The parser against ClientHellos that real TLS stacks make, against altered ones, and against anything at all."""

import shutil
import socket
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from jelmore_gateway.egress.client_hello import MAX_RECORDS, ClientHello, NotTlsError, alert, read_client_hello

RECORDED = Path(__file__).parents[2] / "recordings" / "client_hellos"


def real_hello(name: str | None, version: ssl.TLSVersion | None = None, protocols: tuple[str, ...] = ()) -> bytes:
    """Return the ClientHello of Python's ssl."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if protocols:
        context.set_alpn_protocols(list(protocols))
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def body_of(hello: bytes) -> bytes:
    return hello[9:]


def record(fragment: bytes) -> bytes:
    return b"\x16\x03\x01" + len(fragment).to_bytes(2) + fragment


def with_extensions(hello: bytes, *extensions: tuple[int, bytes]) -> bytes:
    """Return the ClientHello with more extensions."""
    body = body_of(hello)
    at = 34
    at += 1 + body[at]
    at += 2 + int.from_bytes(body[at : at + 2])
    at += 1 + body[at]
    old = body[at + 2 :]
    added = b"".join(kind.to_bytes(2) + len(data).to_bytes(2) + data for kind, data in extensions)
    new = body[:at] + (len(old) + len(added)).to_bytes(2) + old + added
    return record(b"\x01" + len(new).to_bytes(3) + new)


@pytest.mark.parametrize("version", [None, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["example.com", "a.b.c.xn--bcher-kva.example", "x" * 60 + ".example.com"])
def test_the_name_in_a_real_hello(name: str, version: ssl.TLSVersion | None) -> None:
    assert read_client_hello(real_hello(name, version, ("h2", "http/1.1"))) == ClientHello(name, encrypted=False)


def test_a_real_hello_without_a_name() -> None:
    assert read_client_hello(real_hello(None)) == ClientHello(None, encrypted=False)
    assert read_client_hello(real_hello("192.0.2.7")) == ClientHello(None, encrypted=False)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl here")
def test_the_name_in_a_hello_of_openssl() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)
        to = f"127.0.0.1:{server.getsockname()[1]}"
        command = ["openssl", "s_client", "-connect", to, "-servername", "example.org", "-no_ticket"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as client:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(20)
                data = b""
                while isinstance(read_client_hello(data), int):
                    data += connection.recv(65536)
            client.kill()
    assert read_client_hello(data) == ClientHello("example.org", encrypted=False)


@pytest.mark.parametrize("path", sorted(RECORDED.glob("*.bin")), ids=lambda path: path.stem)
def test_the_name_in_what_real_clients_send(path: Path) -> None:
    hello = path.read_bytes()
    assert read_client_hello(hello) == ClientHello("example.org", encrypted=path.stem == "chromium")
    for length in (5, 9, 43, len(hello) - 1):
        needed = read_client_hello(hello[:length])
        assert isinstance(needed, int)
        assert length < needed <= len(hello)


def test_the_clients_that_agents_use_are_recorded() -> None:
    recorded = {path.stem for path in RECORDED.glob("*.bin")}
    assert {"openssl", "curl", "gnutls", "node", "go", "java", "chromium", "chromium-with-policy"} <= recorded


def test_every_beginning_of_a_hello_asks_for_more() -> None:
    hello = real_hello("example.com")
    for length in range(len(hello)):
        needed = read_client_hello(hello[:length])
        assert isinstance(needed, int)
        assert length < needed <= len(hello)


def test_a_hello_over_several_records() -> None:
    message = real_hello("example.com")[5:]
    step = -(-len(message) // MAX_RECORDS)
    parts = [message[at : at + step] for at in range(0, len(message), step)]
    assert read_client_hello(b"".join(map(record, parts))) == ClientHello("example.com", encrypted=False)
    with pytest.raises(NotTlsError, match="too many records"):
        read_client_hello(b"".join(record(message[at : at + 1]) for at in range(len(message))))


@pytest.mark.parametrize("kind", [0xFE0D, 0xFFCE])
def test_an_encrypted_hello_is_seen(kind: int) -> None:
    hello = with_extensions(real_hello("public.example"), (kind, b"\x00\x00\x01\x00\x01\x07\x00\x20" + b"k" * 32))
    assert read_client_hello(hello) == ClientHello("public.example", encrypted=True)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "not the start"),
        (b"SSH-2.0-x\r\n", "not the start"),
        (b"\x80\x2e\x01\x00\x02", "not the start"),
        (b"\x16\x02\x00\x00\x01", "not the start"),
        (b"\x16\x03\x01\x00\x00", "record of 0 bytes"),
        (b"\x16\x03\x01\xff\xff", "record of 65535 bytes"),
        (record(b"\x02\x00\x00\x01x"), "not a ClientHello"),
        (record(b"\x01\xff\xff\xff"), "longer than"),
        (record(b"\x01\x00\x00\x01x"), "longer than the rest"),
        (record(b"\x01\x00\x00\x01xy"), "bytes follow"),
        (with_extensions(real_hello("a.example"), (0, b"\x00\x0c\x00\x00\x09b.example")), "twice"),
        (with_extensions(real_hello(None), (0, b"\x00\x08\x00\x00\x01a\x00\x00\x01b")), "more than one"),
        (with_extensions(real_hello(None), (0, b"\x00\x04\x07\x00\x01a")), "more than one"),
        (with_extensions(real_hello(None), (0, b"\x00\x04\x00\x00\x01\xff")), "not ASCII"),
        (with_extensions(real_hello(None), (0, b"\x00\x09\x00\x00\x01a")), "longer than the rest"),
    ],
)
def test_what_is_no_hello_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(NotTlsError, match=why):
        read_client_hello(data)


REAL = real_hello("example.com")


@given(st.binary(max_size=200), st.integers(0, len(REAL)), st.integers(0, 40))
@example(b"", 0, 0)
def test_any_bytes_are_read_or_refused(noise: bytes, at: int, cut: int) -> None:
    for data in (noise, record(noise) if noise else b"", REAL[:at] + noise + REAL[at + cut :]):
        with suppress(NotTlsError):
            found = read_client_hello(data)
            assert isinstance(found, ClientHello) or found > len(data)


def test_a_client_shows_the_alert() -> None:
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="example.com")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    incoming.write(alert(112))
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        client.do_handshake()
