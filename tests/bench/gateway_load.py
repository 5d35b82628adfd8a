"""What the gateway costs under load: a download of 1 GB and the memory of 500 streams, beside Caddy and no proxy."""

import asyncio
import resource
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Final

from tests.bench.gateway import caddy_before, gateway_before
from tests.bench.processes import memory_mib
from tests.bench.table import Row
from tests.bench.world import World

DOWNLOAD_BYTES: Final = 1_000_000_000
_DOWNLOADS: Final = 3
_STREAMS: Final = 500
_STREAMS_OF_SESSION: Final = 50
"""A session may make 64 calls at once."""

_BLOCK: Final = b"x" * (256 * 1024)
_SETTLE_S: Final = 1.0
_READ_S: Final = 60.0
_REQUEST: Final = b"POST /v1/messages HTTP/1.1\r\nHost: model\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"


async def download(world: World) -> list[Row]:
    """Measure a response of 1 GB through the gateway, through Caddy and directly, in turn."""
    rates: dict[str, list[float]] = {"gateway": [], "Caddy": [], "direct": []}
    with _folder() as folder, _large_response(folder / "api.sock"):
        async with gateway_before(folder, 1) as gateway, caddy_before(folder) as caddy:
            ways = {"gateway": gateway.sockets[0], "Caddy": caddy.socket, "direct": folder / "api.sock"}
            for _ in range(min(world.runs, _DOWNLOADS)):
                for name, path in ways.items():
                    took = await asyncio.to_thread(_read_all, path)
                    rates[name].append(DOWNLOAD_BYTES / 1e6 / took)
                    world.progress.step(f"1 GB, {name}: {took:.1f} s")
    return [
        Row("gateway: a response of 1 GB", "MB/s", rates["gateway"], rates[beside], beside)
        for beside in ("direct", "Caddy")
    ]


async def streams(world: World) -> list[Row]:
    """Measure what 500 open streams add to the memory of the gateway, and to that of Caddy."""
    allow_many_files()
    added: dict[str, list[float]] = {"gateway": [], "Caddy": []}
    with _folder() as folder:
        async with _endless_response(folder / "api.sock"):
            async for _ in world.each("500 streams", min(world.runs, _DOWNLOADS)):
                # A process that had many streams keeps the memory for the next: each run starts new ones.
                async with gateway_before(folder, _STREAMS // _STREAMS_OF_SESSION) as gateway:
                    added["gateway"].append(await _added(gateway.pid, gateway.sockets))
                async with caddy_before(folder) as caddy:
                    added["Caddy"].append(await _added(caddy.pid, [caddy.socket]))
    per_stream = {name: [mib * 1024 / _STREAMS for mib in samples] for name, samples in added.items()}
    return [
        Row(f"gateway: memory that {_STREAMS} open streams add", "MiB", added["gateway"], added["Caddy"], "Caddy"),
        Row("gateway: memory of one of them", "KiB", per_stream["gateway"], per_stream["Caddy"], "Caddy"),
    ]


async def _added(pid: int, sockets: list[Path]) -> float:
    """Return by how many MiB a process grows while 500 streams through it are open and have had a piece each."""
    async with AsyncExitStack() as held:
        await held.enter_async_context(_opened(sockets[0]))
        before = memory_mib(pid)
        for number in range(1, _STREAMS):
            await held.enter_async_context(_opened(sockets[number % len(sockets)]))
        await asyncio.sleep(_SETTLE_S)
        return memory_mib(pid) - before


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[None]:
    """A stream that has given its first piece."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    try:
        writer.write(_REQUEST)
        async with asyncio.timeout(_READ_S):
            await reader.readuntil(b"data: first")
        yield
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def _endless_response(path: Path) -> AsyncIterator[None]:
    """A model whose responses are streams that stay open after a piece."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(head + b"data: first\n\n")
            await reader.read()  # until the other side leaves
        writer.close()

    server = await asyncio.start_unix_server(serve, str(path))
    try:
        yield
    finally:
        server.close()


@contextmanager
def _large_response(path: Path) -> Iterator[None]:
    """A model whose responses have 1 GB, written by threads as fast as they are taken."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        threading.Thread(target=_accept, args=(listening,), name="model", daemon=True).start()
        yield
        with suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)


def _accept(listening: socket.socket) -> None:
    with suppress(OSError):
        while True:
            connection, _ = listening.accept()
            threading.Thread(target=_write_all, args=(connection,), name="response", daemon=True).start()


def _write_all(connection: socket.socket) -> None:
    with connection, suppress(OSError):
        _until(connection, b"\r\n\r\n{}")
        kind = b"Content-Type: application/octet-stream\r\n"
        connection.sendall(
            b"HTTP/1.1 200 OK\r\n%sContent-Length: %d\r\nConnection: close\r\n\r\n" % (kind, DOWNLOAD_BYTES)
        )
        left = DOWNLOAD_BYTES
        while left:
            block = _BLOCK[:left]
            connection.sendall(block)
            left -= len(block)


def _read_all(path: Path) -> float:
    """Return how many seconds a response takes from its first byte to its last. Raises OSError."""
    buffer = bytearray(1024 * 1024)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_READ_S)
        connection.connect(str(path))
        connection.sendall(_REQUEST)
        body = _until(connection, b"\r\n\r\n").partition(b"\r\n\r\n")[2]
        began, received = time.perf_counter(), len(body)
        while received < DOWNLOAD_BYTES:
            count = connection.recv_into(buffer)
            if not count:
                raise ConnectionError(f"the response ended after {received} bytes")
            received += count
        return time.perf_counter() - began


def _until(connection: socket.socket, end: bytes) -> bytes:
    data = b""
    while end not in data:
        piece = connection.recv(64 * 1024)
        if not piece:
            raise ConnectionError(f"the other side closed after {data[:200]!r}")
        data += piece
    return data


def allow_many_files() -> None:
    """Let this process open two sockets for each stream."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="jb-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
