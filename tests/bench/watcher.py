"""`python -m tests.bench.watcher HOST PORT KEY EACH SESSION…`: watch event streams, and time what comes.

Opens EACH streams of every session, says `{"ready": N}` on stdout, and at a line of stdin how long every event took
from its `sent` (seconds of this machine's clock) until it was read, in ms. A program of its own, so that reading takes
nothing from the one that writes.
"""

import asyncio
import json
import re
import sys
import time
from typing import Final

from tests.support.stack_client import SESSIONS

_SENT: Final = re.compile(rb'"sent":([0-9.]+)')
_OPEN_S: Final = 60
_OPENING: Final = 50
"""Streams that open at the same time."""

_LINE_BYTES: Final = 1024 * 1024


type Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def main(host: str, port: int, key: str, each: int, sessions: list[str]) -> None:
    """Watch until a line comes on stdin."""
    lags: list[float] = []
    room = asyncio.Semaphore(_OPENING)
    async with asyncio.timeout(_OPEN_S):
        streams = await asyncio.gather(*(_opened(host, port, key, room, name) for name in sessions * each))
    tasks = [asyncio.create_task(_read(reader, lags), name="watcher") for reader, _ in streams]
    print(json.dumps({"ready": len(tasks)}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for task in tasks:
        task.cancel()
    print(json.dumps({"lags": lags}), flush=True)


async def _opened(host: str, port: int, key: str, room: asyncio.Semaphore, session: str) -> Stream:
    """Open a stream and return it after its first frame. HTTP/1.0, so that no chunk sizes stand between the lines."""
    async with room:
        reader, writer = await asyncio.open_connection(host, port, limit=_LINE_BYTES)
        writer.write(f"GET {SESSIONS}/{session}/stream HTTP/1.0\r\nHost: {host}\r\nX-API-Key: {key}\r\n\r\n".encode())
        status = await reader.readline()
        if b" 200 " not in status:
            raise RuntimeError(f"a stream answered {status.decode().strip()}")
        while not (await reader.readline()).startswith(b"data:"):
            continue
        return reader, writer  # whose loss would close the connection


async def _read(reader: asyncio.StreamReader, lags: list[float]) -> None:
    while line := await reader.readline():
        if sent := _SENT.search(line):
            lags.append((time.time() - float(sent[1])) * 1000)


if __name__ == "__main__":
    _, its_host, its_port, its_key, many, *its_sessions = sys.argv
    asyncio.run(main(its_host, int(its_port), its_key, int(many), its_sessions))
