"""How fast the journal and the fan-out are on real sockets and a real disk: reported, and checked to be complete."""

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from websockets.asyncio.client import unix_connect

from jelmore_protocol.control import Init, Stop
from jelmore_protocol.events import EventKind
from jelmore_runner.agents import claude as claude_agent
from jelmore_runner.control_api import create_control_app
from jelmore_runner.journal import Journal
from jelmore_runner.runner import Runner
from jelmore_runner.serving import make_server, stop_server
from jelmore_runner.settings import Address, Settings
from jelmore_runner.sockets import bind
from jelmore_runner.supervisor import Supervisor
from tests.integration.runner.harness import Client, Keys

pytestmark = pytest.mark.integration

EVENTS = 10_000
READERS = 3


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[tuple[Journal, str]]:
    """A runner's control server in this process, with its journal open and an agent that hangs while it starts."""
    claude = folder / "claude"
    claude.write_text("#!/bin/sh\nexec sleep 600\n")
    claude.chmod(0o755)
    address = Address(path=str(folder / "c.sock"))
    nowhere = Address(path="/nowhere/gateway.sock")
    settings = Settings(address, address, nowhere, folder, claude=str(claude))
    settings.state.mkdir()
    settings.workspace.mkdir()
    supervisor = Supervisor()
    runner = Runner(settings, supervisor, claude_agent.create)
    server = make_server(create_control_app(runner))
    task = supervisor.start("server", server.serve(sockets=[bind(address)]), may_end=True)
    init = {
        "protocol": 1,
        "session_id": str(uuid4()),
        "generation": 1,
        "options": {},
        "token_public_key": Keys().public,
        "gateway_token": "t",
    }
    await runner.begin(Init.model_validate(init))
    session = await runner.opened_conversation()
    try:
        yield session.journal, str(address.path)
    finally:
        runner.stop(Stop(reason="measured", grace_s=0))
        async with asyncio.timeout(30):
            await runner.finished.wait()
        await stop_server(server, task, address)
        await supervisor.end()


async def test_ten_thousand_events_reach_every_reader(tmp_path: Path) -> None:
    folder = tmp_path
    async with serving(folder) as (journal, path):
        body = {"message": {"type": "assistant", "text": "x" * 200}, "input_id": None}

        async def read(head: int) -> tuple[list[int], float]:
            async with unix_connect(path, uri="ws://x/relay?after=0", max_size=None, compression=None) as socket:
                client = Client(socket)
                await client.until(lambda frame: frame.get("seq") == head and frame["type"] == "event")
                return client.seqs, time.perf_counter()

        await journal.durable(journal.last)
        head = journal.last + EVENTS
        readers = [asyncio.create_task(read(head), name=f"reader {number}") for number in range(READERS)]
        began = time.perf_counter()
        for _ in range(EVENTS):
            await journal.room()
            journal.put((EventKind.MESSAGE, body))
        await journal.durable(head)
        durable_s = time.perf_counter() - began
        for seqs, ended in await asyncio.gather(*readers):
            assert seqs == list(range(1, head + 1))
            print(f"a reader had {EVENTS} events after {ended - began:.2f} s ({EVENTS / (ended - began):.0f}/s)")
        print(f"journaled in {durable_s:.2f} s ({EVENTS / durable_s:.0f}/s)")


async def test_how_long_one_event_takes_to_a_reader(tmp_path: Path) -> None:
    async with serving(tmp_path) as (journal, path):
        async with unix_connect(path, uri="ws://x/relay?after=0", max_size=None, compression=None) as socket:
            client = Client(socket)
            await client.next()
            taken = []
            for _ in range(200):
                began = time.perf_counter()
                [seq] = journal.put((EventKind.ERROR, {"code": "x", "message": "y"}))
                await client.until(lambda frame, seq=seq: frame.get("seq") == seq)  # type: ignore[misc]
                taken.append((time.perf_counter() - began) * 1000)
        assert client.seqs[-1] == journal.head
    ordered = sorted(taken)
    print(f"put -> synced -> received: median {statistics.median(taken):.2f} ms, p95 {ordered[189]:.2f} ms")
