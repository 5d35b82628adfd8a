"""A small internet on loopback: names, addresses and servers that stand in for hosts, and a proxy in front of them."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from jelmore_gateway.egress import AddressRules, Deadlines, EgressLimits, EgressProxy, EgressRecord, EgressSession
from jelmore_gateway.egress.addresses import Address
from jelmore_gateway.egress.limits import BUFFER_BYTES
from jelmore_gateway.egress.policy import Policy
from jelmore_gateway.egress.resolver import Streams
from jelmore_protocol.network import Network

DEADLINE_S = 20
PUBLIC = "93.184.216.34"

type Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Internet:
    """Resolves and dials for the proxy, and notes both."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)  # the answers, one look-up after the other
    ports: dict[tuple[str, int], int] = field(default_factory=dict)  # (address, port) -> port on loopback
    lookups: list[str] = field(default_factory=list)
    dialled: list[tuple[str, int]] = field(default_factory=list)

    def host(self, name: str, *addresses: str) -> None:
        self.names[name] = [list(addresses or (PUBLIC,))]

    async def resolve(self, name: str) -> list[Address]:
        self.lookups.append(name)
        answers = self.names.get(name)
        if answers is None:
            raise OSError(f"{name} is not known")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return [ip_address(text) for text in answer]

    async def dial(self, address: Address, port: int) -> Streams:
        self.dialled.append((str(address), port))
        at = self.ports.get((str(address), port))
        if at is None:
            raise ConnectionRefusedError("connection refused")
        return await asyncio.open_connection("127.0.0.1", at, limit=BUFFER_BYTES)


@dataclass
class World:
    """The proxy in front of the internet, for one session."""

    internet: Internet
    proxy: EgressProxy
    session: EgressSession
    records: list[EgressRecord]
    port: int
    servers: list[asyncio.Server] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def reasons(self) -> list[str]:
        return [record.reason.value for record in self.records]

    async def settled(self, count: int) -> None:
        """Wait until the session has `count` connections left."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self.session.connections) != count:
                await asyncio.sleep(0.01)

    def allow(self, mode: str, *allow: str) -> None:
        self.session.set_policy(Policy.of(Network.model_validate({"mode": mode, "allow": allow})))

    async def serve(
        self, handler: Handler, port: int, *, address: str = PUBLIC, tls: ssl.SSLContext | None = None
    ) -> None:
        """Let `handler` serve a port of a public address."""
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=tls)
        self.servers.append(server)
        self.internet.ports[address, port] = server.sockets[0].getsockname()[1]

    async def connect(self) -> Streams:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def say(self, data: bytes) -> bytes:
        """Send bytes to the proxy and return all that comes back."""
        reader, writer = await self.connect()
        try:
            async with asyncio.timeout(DEADLINE_S):
                with suppress(OSError):
                    writer.write(data)
                    await writer.drain()
                return await read_all(reader)
        finally:
            await hang_up(writer)

    async def tunnel(self, target: str) -> tuple[Streams, bytes]:
        """Open a tunnel; return its streams and the head of the proxy's response."""
        reader, writer = await self.connect()
        writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        async with asyncio.timeout(DEADLINE_S):
            return (reader, writer), await reader.readuntil(b"\r\n\r\n")


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Return what arrives until the end; a reset is an end."""
    data = b""
    with suppress(OSError):
        while chunk := await reader.read(65536):
            data += chunk
    return data


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(OSError, ssl.SSLError):
        await writer.wait_closed()


@asynccontextmanager
async def internet(
    mode: str = "custom",
    *allow: str,
    deadlines: Deadlines | None = None,
    limits: EgressLimits | None = None,
    addresses: AddressRules | None = None,
) -> AsyncIterator[World]:
    """Yield a proxy whose session has the policy, before an internet that is still empty."""
    net, records = Internet(), list[EgressRecord]()
    proxy = EgressProxy(
        records.append,
        addresses or AddressRules(),
        deadlines or Deadlines(),
        net.resolve,
        net.dial,
        lambda: [ip_address("93.184.216.99")],
    )
    session = EgressSession("the-session", limits=limits or EgressLimits())
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await proxy.serve(reader, writer, session)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, limit=BUFFER_BYTES)
    world = World(net, proxy, session, records, server.sockets[0].getsockname()[1])
    world.allow(mode, *allow)
    try:
        yield world
    finally:
        session.close()
        if tasks:
            _, pending = await asyncio.wait(set(tasks), timeout=DEADLINE_S)
            assert not pending, "a connection outlived its session"
        assert session.connections == set()
        for each in (server, *world.servers):
            each.close()


def issue(folder: Path, *names: str) -> tuple[Path, Path]:
    """Write a self-signed certificate for `names`; return it with its key. The certificate is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    at, key_at = folder / "tls.crt", folder / "tls.key"
    at.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key_at.write_bytes(key.private_bytes(serialization.Encoding.PEM, form, plain))
    return at, key_at


def server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


def answering(body: bytes = b"hello", heads: list[bytes] | None = None, extra: bytes = b"") -> Handler:
    """Return a handler that notes the head of each request and responds with a body."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if heads is not None:
                    heads.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%s\r\n" % (len(body), extra) + body)
                await writer.drain()
        await hang_up(writer)

    return handle


def noting(received: bytearray) -> Handler:
    """Return a handler that notes what it receives and says nothing."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await read_all(reader))
        await hang_up(writer)

    return handle
