"""What `jelmore port` does while it forwards: each local connection becomes one to the session's port."""

import asyncio
import signal
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from typing import Final

import typer

from jelmore_client import AsyncJelmore, AsyncPortConnection, AsyncSession
from jelmore_client.cli.app import FAILED, OK
from jelmore_client.cli.contexts import Server
from jelmore_client.cli.printing import say, short
from jelmore_client.errors import JelmoreError

_CHUNK_BYTES: Final = 64 * 1024


async def forward(server: Server, session_id: str, pairs: Sequence[tuple[int, int]]) -> int:
    """Listen on 127.0.0.1 for each (port of the session, local port) until SIGINT or SIGTERM."""
    ended = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    async with AsyncJelmore(server.url, api_key=server.api_key) as client, AsyncExitStack() as stack:
        session = await client.sessions.get(session_id)
        for remote, local in pairs:
            serve = partial(_serve, session, remote)
            try:
                listener = await asyncio.start_server(serve, "127.0.0.1", local, limit=_CHUNK_BYTES)
            except OSError as error:
                say(f"error: 127.0.0.1:{local}: {error.strerror or error}; choose another: {remote}:LOCAL")
                return FAILED
            stack.callback(listener.close)
            typer.echo(f"127.0.0.1:{local} -> port {remote}, in a browser {local_url(session_id, remote, local)}")
        await ended.wait()
    return OK


def local_url(session_id: str, remote: int, local: int) -> str:
    """Return the URL of a forwarded port on this machine, under a name that no other port has.

    Browsers send the cookies of `127.0.0.1` and `localhost` to every port there, so the agent's server would get those
    of a dashboard. Every name below localhost leads here and has its own.
    """
    return f"http://{remote}--{short(session_id)}.localhost:{local}"


async def _serve(
    session: AsyncSession, remote: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Serve one local connection to its end. A failure is reported; the next connection may succeed."""
    try:
        async with session.port(remote) as connection:
            await _pass(connection, reader, writer)
    except (JelmoreError, OSError) as error:
        say(f"port {remote}: {error}")
        writer.transport.abort()
    finally:
        writer.close()


async def _pass(connection: AsyncPortConnection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    upward = asyncio.create_task(_send(connection, reader), name="bytes to the session")
    try:
        while piece := await connection.read():
            writer.write(piece)
            await writer.drain()
    finally:
        upward.cancel()
        await asyncio.wait({upward})


async def _send(connection: AsyncPortConnection, reader: asyncio.StreamReader) -> None:
    with suppress(JelmoreError, OSError):  # `read` says why the connection ended
        while piece := await reader.read(_CHUNK_BYTES):
            await connection.write(piece)
        await connection.end()
