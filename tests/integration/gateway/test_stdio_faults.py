"""What the process of stdio servers does when credentials are large, clients leave, and ends come at a bad moment."""

import asyncio
import json
import logging
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from structlog.testing import capture_logs

from jelmore_gateway.byte_budget import ByteBudget
from jelmore_gateway.logs import configure
from jelmore_gateway.stdio.config import StdioServer
from jelmore_gateway.stdio.conversation import Conversation
from jelmore_gateway.stdio.process import ProcessError, StdioProcess
from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Scope, SealedCredential
from tests.integration.gateway.test_stdio_servers import (
    hosting,
    initialize,
    opened,
    until_ended,
    variable_of,
)
from tests.integration.gateway.world import OTHER, World

pytestmark = pytest.mark.integration

READS_NOTHING = StdioServer(command="/bin/sleep", args=["60"])
PIECE: dict[str, Any] = {"jsonrpc": "2.0", "method": "note", "params": "x" * 1024**2}


@pytest.fixture(autouse=True)
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the folders of processes be where a test sees them."""
    made = folder / "tmp"
    made.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(made))
    return made


@pytest.fixture(autouse=True)
def pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway of these tests takes a stream for dead after two seconds."""
    monkeypatch.setattr("jelmore_gateway.stdio.host.PING_S", 0.5)


@pytest.fixture
def server_log() -> Iterator[list[str]]:
    """Collect what the HTTP server logs in the form in which it is printed."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    log = logging.getLogger("aiohttp.server")
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)


async def hold(world: World, *secrets: str) -> None:
    """Set credentials `c0`, `c1` and so on."""
    credentials = []
    for number, secret in enumerate(secrets):
        whose = CredentialKey(scope=Scope.DEPLOYMENT, name=f"c{number}")
        sealed, key_id = world.gateway.vault.seal(whose, secret)
        credentials.append(SealedCredential(**whose.model_dump(), sealed=sealed, key_id=key_id))
    await world.gateway.configure(GatewayConfig(digest="large", credentials=credentials))


async def test_the_largest_credentials_reach_the_process(world: World) -> None:
    path = await world.register()
    secrets = [f"s3cret-{number}-" + "x" * 16_000 for number in range(4)]
    async with asyncio.timeout(60), hosting(world, credentials={f"KEY_{n}": f"c{n}" for n in range(4)}):
        await hold(world, *secrets)
        conversation = await opened(world, path, {})
        for number, secret in enumerate(secrets):
            assert await variable_of(world, path, conversation, f"KEY_{number}") == secret


async def test_what_the_http_server_of_the_process_refuses_shows_no_credential(
    world: World, server_log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A header of the sandbox's own is too large for it; its text on that goes to nobody."""
    monkeypatch.setattr(structlog, "configure", lambda **_: None)  # the tests' own form of logs stays
    configure("info")
    path = await world.register()
    async with asyncio.timeout(60), hosting(world, credentials={"KEY": "c0"}):
        await hold(world, "s3cret" + "x" * 9_000)
        for headers in ({}, {"X-Large": "mark" * 8_000}):
            with capture_logs() as logs:
                async with world.post(path, "/mcp/clock", data=initialize(), headers=headers) as response:
                    text = await response.text()
            shown = text + str(logs) + "".join(server_log)
            assert not any(each in shown for each in ("Jelmore-Environment", "czNjcmV0", "s3cret", "mark"))
            assert response.status == (503 if headers else 200), text


async def test_messages_of_clients_that_left_do_not_pile_up(folder: Path) -> None:
    process = await StdioProcess.start("sleeper", READS_NOTHING, {}, None)
    try:
        for _ in range(8):
            sending = asyncio.create_task(process.send(b"x" * 1024**2), name="a client that leaves")
            await asyncio.sleep(0.05)
            sending.cancel()
        assert process._process.stdin is not None
        assert process._process.stdin.transport.get_write_buffer_size() <= 2 * 1024**2
    finally:
        await process.end()


async def test_a_request_whose_client_left_while_it_was_sent_is_forgotten() -> None:
    process = await StdioProcess.start("sleeper", READS_NOTHING, {}, None)
    conversation = Conversation("sandbox", "sleeper", process, 0.0, ByteBudget(2**20, 2**20, 2**20))
    running = asyncio.create_task(conversation.run(), name="conversation")
    sending = asyncio.create_task(conversation.request({**PIECE, "id": 1}), name="a client that leaves")
    await asyncio.sleep(0.1)
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    assert conversation.is_idle
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_folder_is_removed_beside_the_event_loop(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads = []
    remove = shutil.rmtree

    def noted(*given: Any, **named: Any) -> None:
        threads.append(threading.current_thread())
        remove(*given, **named)

    monkeypatch.setattr(shutil, "rmtree", noted)
    process = await StdioProcess.start("sleeper", READS_NOTHING, {}, None)
    assert len(list(temporary.iterdir())) == 1
    await process.end()
    assert list(temporary.iterdir()) == []
    assert threads
    assert threading.main_thread() not in threads


@pytest.mark.parametrize("turns", [1, 2, 3])
async def test_a_start_that_is_cancelled_leaves_no_folder(temporary: Path, turns: int) -> None:
    starting = asyncio.create_task(StdioProcess.start("sleeper", READS_NOTHING, {}, None), name="start")
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert list(temporary.iterdir()) == []


async def test_a_command_that_cannot_be_started_leaves_no_folder(temporary: Path) -> None:
    with pytest.raises(ProcessError):
        await StdioProcess.start("bad", READS_NOTHING, {"A": "\0"}, None)
    assert list(temporary.iterdir()) == []


async def test_an_end_in_the_moment_of_the_start_ends_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of a conversation that is cancelled before its first step would not end anything."""
    path, started = await world.register(), []
    start = StdioProcess.start

    async with asyncio.timeout(30), hosting(world) as host:

        async def watched(*given: Any) -> StdioProcess:
            process = await start(*given)
            started.append(process._process.pid)
            asyncio.get_running_loop().call_soon(lambda: host._end(list(host._conversations.values())))
            return process

        monkeypatch.setattr(StdioProcess, "start", watched)
        async with world.post(path, "/mcp/clock", data=initialize()) as response:
            await response.read()
        await until_ended(*started)
        assert len(started) == 1


@pytest.mark.parametrize("by", ["sandbox", "host"])
async def test_an_end_while_a_process_is_started_ends_it(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str, temporary: Path
) -> None:
    path, started, go_on = await world.register(), [], asyncio.Event()
    start = StdioProcess.start

    async def slow(*given: Any) -> StdioProcess:
        started.append(0)
        await go_on.wait()
        process = await start(*given)
        started.append(process._process.pid)
        return process

    monkeypatch.setattr(StdioProcess, "start", slow)
    async with asyncio.timeout(30), hosting(world) as host:
        calling = asyncio.create_task(status_of(world, path), name="call")
        while not started:
            await asyncio.sleep(0.01)
        if by == "sandbox":
            await end(world, path)
        else:
            await host.close()
        go_on.set()
        assert await calling == 404
        await until_ended(started[1])
        await host.close()
    assert list(temporary.iterdir()) == []


async def status_of(world: World, path: Path) -> int:
    async with world.post(path, "/mcp/clock", data=initialize()) as response:
        await response.read()
        return int(response.status)


async def end(world: World, path: Path) -> None:
    """End a sandbox's processes as the gateway does."""
    connector = aiohttp.UnixConnector(str(world.settings.local_socket))
    url = f"http://host/{path.parent.name}"
    async with aiohttp.ClientSession(connector=connector) as client, client.delete(url) as response:
        assert response.status == 204


async def test_a_session_whose_client_reads_nothing_gets_no_more_responses(world: World) -> None:
    path, other = await world.register(), await world.register(OTHER)
    ping = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "ping"})
    async with asyncio.timeout(30), hosting(world) as host:
        named = await opened(world, path, {})
        unread = []
        for _ in range(2):
            unread.append(host._conversations[named].listen())
            for _ in range(2):
                await unread[-1].put(b"x" * 4 * 1024**2)
        headers = {"Mcp-Session-Id": named}
        async with world.post(path, "/mcp/clock", data=ping, headers=headers) as response:
            assert (response.status, "too many messages wait" in await response.text()) == (503, True)
        headers = {"Mcp-Session-Id": await opened(world, other, {})}
        async with world.post(other, "/mcp/clock", data=ping, headers=headers) as response:
            assert response.status == 200, "each session has a part of its own"
        for stream in unread:
            stream.discard()
        async with world.post(path, "/mcp/clock", data=ping, headers={"Mcp-Session-Id": named}) as response:
            assert response.status == 200


async def test_a_message_with_variables_is_no_message_for_a_running_process(world: World) -> None:
    """The variables come before the message and are never a part of it."""
    async with asyncio.timeout(30), hosting(world):
        path = await world.register()
        headers = {"Mcp-Session-Id": await opened(world, path, {}), "Jelmore-Environment": "7"}
        ping = json.dumps({"jsonrpc": "2.0", "id": 5, "method": "ping"})
        async with world.post(path, "/mcp/clock", data=ping, headers=headers) as response:
            assert '"id":5' in (await response.text()).replace(" ", "")
