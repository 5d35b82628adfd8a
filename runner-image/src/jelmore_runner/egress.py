"""The agent's way to other hosts: a loopback port that leads to the sandbox's egress socket at the gateway.

It carries bytes and reads none: the gateway knows the sandbox by its socket and decides. Beside it, the variables that
make the agent's tools use the port.
"""

import asyncio
from contextlib import suppress
from typing import Final

from jelmore_protocol.descriptors import is_scarce
from jelmore_runner.loopback import CHUNK_BYTES, CONNECT_DEADLINE_S, LoopbackServer

WRITE_DEADLINE_S: Final = 150.0  # longer than the gateway's, which reports what it ends

_AWAY: Final = b"the gateway cannot be reached"
_TOO_MANY: Final = b"too many connections are open"
_LOCAL: Final = "127.0.0.1,localhost,::1"


class EgressForwarder(LoopbackServer):
    """Forwards from 127.0.0.1 to the egress socket."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Copy the bytes of one connection in both directions."""
        try:
            if is_scarce(writer.transport):  # the agent's idle connections must not take the journal's descriptors
                writer.write(b"HTTP/1.1 503 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n" % _TOO_MANY)
                return
            async with self.slots:
                await self._exchange(reader, writer)
        finally:
            await _close(writer)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await self.connect()
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
        # From 3.9 on, Maven reads Java's proxy only on request: maven.apache.org/resolver/configuration.html.
        "MAVEN_ARGS": "-Daether.connector.http.useSystemProperties=true",
        "CARGO_HTTP_PROXY": url,
        "CARGO_NET_GIT_FETCH_WITH_CLI": "true",
    }
