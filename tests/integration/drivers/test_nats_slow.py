"""A slow way to NATS: whatever the sizes of events are, some get through each time, in order and once."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from urllib.parse import urlsplit

import nats
import pytest

from jelmore.drivers.nats_events import STREAM, NatsEvents
from jelmore.ports import StoredEvent
from tests.support.records import MOMENT, new_id

pytestmark = pytest.mark.integration
SLOW_BYTES_PER_S: Final = 200 * 1024
PIECE_BYTES: Final = 4096


@asynccontextmanager
async def slow_way(url: str) -> AsyncIterator[str]:
    """Yield a URL that leads to the server at `url`, slowly on the way in."""
    server = urlsplit(url)
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: float) -> None:
        try:
            with contextlib.suppress(OSError):
                while piece := await reader.read(PIECE_BYTES):
                    await asyncio.sleep(len(piece) / bytes_per_s)
                    writer.write(piece)
                    await writer.drain()
        finally:
            writer.transport.abort()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(server.hostname, server.port)
        pumps.add(asyncio.create_task(pump(reader, to_writer, SLOW_BYTES_PER_S), name="in"))
        pumps.add(asyncio.create_task(pump(to_reader, writer, 1e9), name="out"))

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, limit=PIECE_BYTES)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield server._replace(netloc=f"{server.username}@127.0.0.1:{port}").geturl()
    finally:
        listener.close()
        for task in pumps:
            task.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


async def test_a_batch_that_takes_too_long_goes_in_parts(nats_url: str) -> None:
    one = new_id()
    waiting = [StoredEvent(one, seq, "command.sent", MOMENT, {"input": "x" * 100_000}, None, 1) for seq in range(1, 13)]
    client = await nats.connect(nats_url)
    async with slow_way(nats_url) as url:
        bus = NatsEvents(url, instance="test", timeout_s=0.5)
        try:
            parts: list[int] = []
            async with asyncio.timeout(60):
                while waiting:
                    await bus.connect()
                    parts.append(await bus.publish(waiting))
                    waiting = waiting[parts[-1] :]
            assert len(parts) > 1
            count = (await client.jetstream().stream_info(STREAM)).state.messages
            stored = [
                json.loads((await client.jetstream().get_msg(STREAM, n)).data or b"") for n in range(1, count + 1)
            ]
            assert [body["seq"] for body in stored] == list(range(1, 13))
        finally:
            await bus.close()
            await client.close()
