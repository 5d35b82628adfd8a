"""Real MCP servers of the official package, and a door to a sandbox's socket for its clients."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from mcp.server.mcpserver import Context, MCPServer


def clock(go_on: asyncio.Event) -> MCPServer:
    """Return a server with a tool that adds, and one that reports progress and then waits for `go_on`."""
    server = MCPServer("clock")

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    async def count(context: Context[Any]) -> str:
        """Report progress, wait, and end."""
        await context.report_progress(1, 2)
        await go_on.wait()
        return "counted"

    return server


@asynccontextmanager
async def serving_asgi(app: Any) -> AsyncIterator[int]:
    """Serve an ASGI application on a free loopback port, and yield the port."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1, lifespan="on")
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve(sockets=[bound]), name="mcp server")
        try:
            async with asyncio.timeout(20):
                while not server.started:
                    await asyncio.sleep(0.01)
            yield bound.getsockname()[1]
        finally:
            server.should_exit = server.force_exit = True
            await task


@asynccontextmanager
async def door(path: Path) -> AsyncIterator[int]:
    """Let clients that know no unix sockets reach one on a loopback port, as a runner does for its agent."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(path))

        async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()

        await asyncio.gather(copy(reader, inner_writer), copy(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
