"""The agent's way to other hosts: a loopback port that leads to the sandbox's egress socket at the gateway.

It carries bytes and reads none: the gateway knows the sandbox by its socket and decides. Beside it, the variables that
make the agent's tools use the port.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from jelmore_protocol.descriptors import is_scarce
from jelmore_runner.settings import Address

MAX_CONNECTIONS: Final = 64
CHUNK_BYTES: Final = 64 * 1024
CONNECT_DEADLINE_S: Final = 10.0
WRITE_DEADLINE_S: Final = 150.0  # longer than the gateway's, which reports what it ends

_AWAY: Final = b"the gateway cannot be reached"
_TOO_MANY: Final = b"too many connections are open"
_LOCAL: Final = "127.0.0.1,localhost,::1"


@dataclass(slots=True)
class EgressForwarder:
    """Forwards from 127.0.0.1 to the egress socket."""

    address: Address
    port: int = 0
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_CONNECTIONS))
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen on a free loopback port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=CHUNK_BYTES)
        self.port = self._server.sockets[0].getsockname()[1]

    async def run(self) -> None:
        """Serve until cancelled."""
        assert self._server is not None  # noqa: S101 - start comes first
        async with self._server:
            await self._server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if is_scarce(writer.transport):  # the agent's idle connections must not take the journal's descriptors
                writer.write(b"HTTP/1.1 503 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % _TOO_MANY)
                return
            async with self._slots:
                await self._exchange(reader, writer)
        finally:
            await _close(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_DEADLINE_S):
                far_reader, far_writer = await self._connect()
        except (OSError, TimeoutError):
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(CONNECT_DEADLINE_S):
                    await reader.read(CHUNK_BYTES)  # closing with a request unread could destroy the response
                head = b"HTTP/1.1 503 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % _AWAY
                writer.write(head)
                await writer.drain()
            return
        out = asyncio.create_task(_copy(reader, far_writer), name="egress out")
        back = asyncio.create_task(_copy(far_reader, writer), name="egress back")
        try:
            # The gateway ends a connection in both directions; the agent may end its half and still await the answer.
            await asyncio.wait({back})
        finally:
            for task in (out, back):
                task.cancel()
            await asyncio.gather(out, back, return_exceptions=True)
            await _close(far_writer)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self.address.path is not None:
            return await asyncio.open_unix_connection(self.address.path, limit=CHUNK_BYTES)
        return await asyncio.open_connection(self.address.host, self.address.port, limit=CHUNK_BYTES)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end of `reader`, then end `writer`. A connection that breaks is an end."""
    with suppress(OSError, TimeoutError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            async with asyncio.timeout(WRITE_DEADLINE_S):
                await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()


async def _close(writer: asyncio.StreamWriter) -> None:
    """Close a connection once what is buffered has been sent."""
    writer.close()
    try:
        async with asyncio.timeout(WRITE_DEADLINE_S):
            await writer.wait_closed()
    except (OSError, TimeoutError):
        writer.transport.abort()


def proxy_environment(port: int) -> dict[str, str]:
    """Return the variables that make tools use the proxy on this port. Empty without one."""
    if not port:
        return {}
    url = f"http://127.0.0.1:{port}"
    java = " ".join(f"-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={port}" for scheme in ("http", "https"))
    return {
        **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), url),
        "NO_PROXY": _LOCAL,
        "no_proxy": _LOCAL,
        "NODE_USE_ENV_PROXY": "1",
        "YARN_HTTP_PROXY": url,
        "YARN_HTTPS_PROXY": url,
        "JAVA_TOOL_OPTIONS": f"{java} -Dhttp.nonProxyHosts=localhost|127.*|[::1]",
        "CARGO_HTTP_PROXY": url,
        "CARGO_NET_GIT_FETCH_WITH_CLI": "true",
    }
