"""Bytes that are no WebSocket frames, or almost: the runner ends that connection and serves the others."""

import asyncio
import base64
import json
import os
import random
from contextlib import suppress

import pytest

from tests.integration.runner.harness import DEADLINE_S, Runner

pytestmark = [pytest.mark.integration, pytest.mark.timeout(120)]

CONNECTIONS = 80
MASK = b"\1\2\3\4"


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """Return a masked frame of a client: a whole text unless `first` says something else."""
    masked = bytes(byte ^ MASK[at % 4] for at, byte in enumerate(payload))
    size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2)
    return bytes([first]) + size + MASK + masked


EXAMPLES = [
    frame(b'{"type":"ping","id":"1"}'),
    frame(b'{"type":"input","input":"' + b"x" * 300 + b'"}'),
    frame(b"half", 0x01) + frame(b"rest", 0x80),
    frame(b"", 0x89) + frame(b"\x03\xe8bye", 0x88),
    frame(b"\xff\xfe", 0x82),
    frame(b"reserved", 0xF1),
    b"\x81\xff" + (2**63 - 1).to_bytes(8) + MASK + b"endless",
    b"\x81\x05plain",
]


def altered(source: random.Random, data: bytes) -> bytes:
    """Return an example with some bytes changed, left out or added."""
    for _ in range(source.randrange(4)):
        at = source.randrange(len(data) + 1)
        data = data[:at] + source.randbytes(source.randrange(6)) + data[at + source.randrange(4) :]
    return data + source.choice([b"", source.randbytes(40), data])


async def spoken(runner: Runner, head: bytes, data: bytes) -> bytes:
    """Send a head and bytes over one connection; return all that comes back until the runner closes it."""
    reader, writer = await asyncio.open_unix_connection(str(runner.folder / "p.sock"))
    answer = b""
    try:
        async with asyncio.timeout(DEADLINE_S):
            with suppress(OSError):
                writer.write(head + data)
                await writer.drain()
                writer.write_eof()
                while piece := await reader.read(65536):
                    answer += piece
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
    return answer


async def test_no_bytes_after_the_handshake_break_the_runner(runner: Runner) -> None:
    await runner.begin()
    seed = int(os.environ.get("FUZZ_SEED", random.randrange(2**32)))
    print(f"FUZZ_SEED={seed}")
    source = random.Random(seed)
    key = base64.b64encode(b"k" * 16).decode()
    head = (
        f"GET /ws?after=0 HTTP/1.1\r\nHost: session\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nAuthorization: Bearer {runner.token()}\r\n\r\n"
    ).encode()
    assert runner.process is not None
    pid = runner.process.pid
    async with runner.open() as good:
        for number in range(CONNECTIONS):
            example = EXAMPLES[number % len(EXAMPLES)]
            answer = await spoken(runner, head, example if number < len(EXAMPLES) else altered(source, example))
            assert answer.startswith(b"HTTP/1.1 101 "), answer[:100]
        for _ in range(20):
            torn = altered(source, head)
            assert b"HTTP/1.1 5" not in (await spoken(runner, torn, b""))[:12]
        await good.connection.send(json.dumps({"type": "ping", "id": "still-here"}))
        async with asyncio.timeout(DEADLINE_S):
            while True:
                seen = await good.next()
                if seen.get("id") == "still-here":
                    break
    assert runner.process.poll() is None
    assert runner.process.pid == pid
    assert "Traceback" not in runner.log
