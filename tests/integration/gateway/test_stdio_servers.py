"""Stdio MCP servers of the official package, run beside the gateway: its clients use them over streamable HTTP."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from structlog.testing import capture_logs

from jelmore_gateway.stdio.config import StdioConfig
from jelmore_gateway.stdio.host import Host
from jelmore_protocol.gateway import CredentialKey, GatewayConfig, Scope, SealedCredential
from tests.integration.gateway.world import OTHER, World
from tests.support.mcp_servers import door

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

SCRIPT = Path(__file__).parents[2] / "support" / "stdio_clock.py"
CLOCK: dict[str, Any] = {"command": sys.executable, "args": [str(SCRIPT)], "env": {"PYTHONDONTWRITEBYTECODE": "1"}}


@pytest.fixture(autouse=True)
def pings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gateway of these tests takes a stream for dead after two seconds."""
    monkeypatch.setattr("jelmore_gateway.stdio.host.PING_S", 0.5)


@asynccontextmanager
async def hosting(world: World, most: int = 4, **more: Any) -> AsyncIterator[Host]:
    """Run the clock beside the gateway, as its own process does; the gateway knows it."""
    config = StdioConfig.model_validate({"mcpServers": {"clock": {**CLOCK, **more}}})
    host = Host(config, max_processes=most)
    runner = host.runner()
    await runner.setup()
    socket = world.settings.local_socket
    socket.parent.mkdir(exist_ok=True)
    await web.UnixSite(runner, str(socket)).start()
    tasks = [
        asyncio.create_task(world.gateway.local_servers.run(), name="gateway"),
        asyncio.create_task(host.run(), name="host"),
    ]
    try:
        async with asyncio.timeout(10):
            while not world.gateway.local_servers.servers:
                await asyncio.sleep(0.02)
        yield host
    finally:
        for task in tasks:
            task.cancel()
        await host.close()
        await runner.cleanup()


@asynccontextmanager
async def client_of(path: Path) -> AsyncIterator[Client]:
    async with (
        door(path) as port,
        Client(streamable_http_client(f"http://127.0.0.1:{port}/mcp/clock"), mode="legacy") as client,
    ):
        yield client


async def said(client: Client, tool: str, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    return str(getattr(result.content[0], "text", ""))


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


async def until_ended(*pids: int, seconds: float = 8) -> None:
    async with asyncio.timeout(seconds):
        while any(alive(pid) for pid in pids):
            await asyncio.sleep(0.05)


async def test_each_session_has_a_process_of_its_own_that_ends_with_it(world: World) -> None:
    mine, others = await world.register(), await world.register(OTHER)
    async with asyncio.timeout(60), hosting(world), client_of(mine) as client, client_of(others) as other:
        assert {"add", "pid"} <= {tool.name for tool in (await client.list_tools()).tools}
        assert await said(client, "add", a=2, b=3) == "5"
        pids = [int(await said(each, "pid")) for each in (client, other)]
        assert pids[0] != pids[1]
        children = [int(await said(each, "child")) for each in (client, other)]
        assert all(alive(pid) for pid in [*pids, *children])
        await world.gateway.revoke([mine.parent.name])
        await until_ended(pids[0], children[0])
        assert alive(pids[1])
        assert alive(children[1])
        assert await said(other, "add", a=1, b=1) == "2"
    await until_ended(*pids, *children)
    records = await world.state.calls_after(0)
    assert {(record.route, record.tool) for record in records if record.tool == "add"} == {("mcp/clock", "add")}


async def test_progress_is_not_held_back_and_a_client_that_leaves_ends_its_process(world: World) -> None:
    seen = asyncio.Event()

    async def on_progress(progress: float, total: float | None, message: str | None) -> None:
        seen.set()

    async with asyncio.timeout(60), hosting(world) as host:
        async with client_of(await world.register()) as client:
            counting = asyncio.create_task(
                client.call_tool("count", {"pause_s": 1.5}, progress_callback=on_progress), name="count"
            )
            await seen.wait()
            assert not counting.done()
            assert await said(client, "add", a=1, b=2) == "3", "two requests at once"
            assert getattr((await counting).content[0], "text", "") == "counted"
            process = int(await said(client, "pid"))
        await until_ended(process)
        assert host._conversations == {}


async def test_a_credential_is_a_variable_of_the_process_and_nowhere_else(world: World) -> None:
    path = await world.register()
    async with asyncio.timeout(60), hosting(world, credentials={"API_KEY": "docs"}):
        async with world.post(path, "/mcp/clock", data=initialize()) as response:
            assert response.status == 403
            assert "needs the credential 'docs'" in await response.text()
        whose = CredentialKey(scope=Scope.DEPLOYMENT, name="docs")
        sealed, key_id = world.gateway.vault.seal(whose, "s3cret")
        credential = SealedCredential(**whose.model_dump(), sealed=sealed, key_id=key_id)
        await world.gateway.configure(GatewayConfig(digest="c", credentials=[credential]))
        async with client_of(path) as client:
            assert await said(client, "variable", name="API_KEY") == "s3cret"
            process = int(await said(client, "pid"))
            assert b"s3cret" not in Path(f"/proc/{process}/cmdline").read_bytes()
            assert await said(client, "variable", name="ANTHROPIC_API_KEY") == ""
        forged = {"Jelmore-Environment": "eyJBUElfS0VZIjogImZvcmdlZCIsICJMRF9QUkVMT0FEIjogIngifQ=="}
        conversation = await opened(world, path, forged)
        assert await variable_of(world, path, conversation, "API_KEY") == "s3cret"
        assert await variable_of(world, path, conversation, "LD_PRELOAD") == ""


def initialize() -> bytes:
    params = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
    return json.dumps({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}).encode()


async def opened(world: World, path: Path, headers: dict[str, str]) -> str:
    async with world.post(path, "/mcp/clock", data=initialize(), headers=headers) as response:
        assert response.status == 200, await response.text()
        conversation = response.headers["Mcp-Session-Id"]
    message = b'{"jsonrpc": "2.0", "method": "notifications/initialized"}'
    async with world.post(path, "/mcp/clock", data=message, headers={"Mcp-Session-Id": conversation}) as response:
        assert response.status == 202
    return str(conversation)


async def variable_of(world: World, path: Path, conversation: str, name: str) -> str:
    call = {"name": "variable", "arguments": {"name": name}}
    body = json.dumps({"jsonrpc": "2.0", "id": name, "method": "tools/call", "params": call})
    async with world.post(path, "/mcp/clock", data=body, headers={"Mcp-Session-Id": conversation}) as response:
        text = await response.text()
    data = text.partition("data: ")[2].strip()
    return str(json.loads(data)["result"]["content"][0]["text"])


async def test_processes_are_bounded_and_idle_ones_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jelmore_gateway.stdio.host.SWEEP_S", 0.1)
    path, other = await world.register(), await world.register(OTHER)
    async with asyncio.timeout(60), hosting(world, most=2, idle_s=1.0) as host:
        first, second = [await opened(world, path, {}) for _ in range(2)]
        async with world.post(other, "/mcp/clock", data=initialize()) as refused:
            assert refused.status == 503
        pids = [each._process._process.pid for each in host._conversations.values()]
        await until_ended(*pids)
        async with world.post(path, "/mcp/clock", data=b'{"jsonrpc":"2.0","id":1,"method":"ping"}') as response:
            assert response.status == 400, "no conversation is named"
        for conversation in (first, second):
            headers = {"Mcp-Session-Id": conversation}
            ping = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
            async with world.post(path, "/mcp/clock", data=ping, headers=headers) as response:
                assert response.status == 404, "the client starts again"


async def test_a_conversation_of_another_sandbox_is_none(world: World) -> None:
    path, other = await world.register(), await world.register(OTHER)
    async with asyncio.timeout(60), hosting(world):
        headers = {"Mcp-Session-Id": await opened(world, path, {})}
        for method in ("POST", "GET", "DELETE"):
            more: dict[str, Any] = {"data": b'{"jsonrpc":"2.0","id":1,"method":"ping"}'} if method == "POST" else {}
            async with world.client(other).request(
                method, "http://gateway/mcp/clock", headers=headers, **more
            ) as refused:
                assert refused.status == 404, method
        async with world.client(path).delete("http://gateway/mcp/clock", headers=headers) as ended:
            assert ended.status == 204


async def test_memory_and_standard_error_are_bounded(world: World) -> None:
    path = await world.register()
    async with asyncio.timeout(60), hosting(world, memory_bytes=300 * 1024**2), client_of(path) as client:
        assert await said(client, "take", size=50 * 1024**2) == str(50 * 1024**2)
        assert await said(client, "take", size=400 * 1024**2) == "no memory"
        with capture_logs() as logs:
            await said(client, "shout", text="a line\n" * 5000 + "x" * 100_000)
            await said(client, "add", a=1, b=1)
        printed = [each["text"] for each in logs if each["event"] == "mcp_server_printed"]
        assert 0 < len(printed) <= 60
        assert max(map(len, printed)) <= 500


async def test_a_server_that_ends_fails_its_requests_and_the_client_starts_again(world: World) -> None:
    async with asyncio.timeout(60), hosting(world):
        path = await world.register()
        headers = {"Mcp-Session-Id": await opened(world, path, {})}
        body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": {"name": "leave", "arguments": {}}}
        async with world.post(path, "/mcp/clock", data=json.dumps(body), headers=headers) as response:
            text = await response.text()
        assert json.loads(text.partition("data: ")[2])["error"]["message"] == "jelmore: mcp/clock has ended"
        async with world.post(path, "/mcp/clock", data=json.dumps(body), headers=headers) as response:
            assert response.status == 404
        assert await opened(world, path, {})


async def test_a_command_that_is_not_there_is_shown(world: World) -> None:
    async with asyncio.timeout(30), hosting(world, command="/no/such/command"):
        (state,) = world.gateway.health().servers
        assert (state.name, state.ok, state.problem) == ("mcp/clock", False, "there is no command /no/such/command")
        async with world.post(await world.register(), "/mcp/clock", data=initialize()) as response:
            assert "has ended" in await response.text()


async def test_a_server_for_others_and_a_path_below_one_are_404(world: World) -> None:
    async with asyncio.timeout(30), hosting(world, users=["bob"]):
        path, bobs = await world.register(user_id="ann"), await world.register(OTHER, user_id="bob")
        async with world.post(path, "/mcp/clock", data=initialize()) as response:
            assert response.status == 404
        async with world.post(bobs, "/mcp/clock/servers", data=initialize()) as response:
            assert response.status == 404
        assert await opened(world, bobs, {})


SPY: str = """
read line; reads=no; others=0
cat "$KEY" >/dev/null 2>&1 && reads=key
for each in $(find /proc -maxdepth 1 -uid +65999 -uid -76000 ! -uid "$(id -u)" 2>/dev/null); do
    others=$((others + 1))
    cat "$each/environ" >/dev/null 2>&1 && reads=environ
    kill -0 "${each#/proc/}" 2>/dev/null && reads=signal
done
setsid sleep 300 >/dev/null 2>&1 </dev/null &
printf '{"jsonrpc":"2.0","id":0,"result":{"uid":%s,"reads":"%s",' "$(id -u)" "$reads"
printf '"others":%s,"child":%s}}\\n' "$others" "$!"
cat >/dev/null
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may start a process as another user")
async def test_each_server_is_a_user_of_its_own_and_reads_no_key_and_no_other_server(
    world: World, folder: Path
) -> None:
    mine, others = await world.register(), await world.register(OTHER)
    await world.gateway.configure(GatewayConfig(digest="k"))
    key = folder / "state" / "secrets.key"
    assert world.gateway.vault.key_id
    assert key.exists()
    file = folder / "servers.json"
    server = {"command": "/bin/sh", "args": ["-c", SPY], "env": {"KEY": str(key)}}
    file.write_text(json.dumps({"mcpServers": {"clock": server}}))
    environment = {"JELMORE_RUN_DIR": str(folder), "JELMORE_MCP_SERVERS_FILE": str(file), "PATH": os.environ["PATH"]}
    environment["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
    with (folder / "mcp.log").open("ab") as log:
        started = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "jelmore_gateway.stdio", env=environment, stdout=log, stderr=log
        )
    looking = asyncio.create_task(world.gateway.local_servers.run(), name="gateway")
    try:
        async with asyncio.timeout(20):
            while not world.gateway.local_servers.servers:
                world.gateway.local_servers._wake.set()
                await asyncio.sleep(0.1)
        results = []
        for path in (mine, others):
            async with world.post(path, "/mcp/clock", data=initialize()) as response:
                results.append(json.loads((await response.text()).partition("data: ")[2])["result"])
        first, second = results
        assert [each["reads"] for each in results] == ["no", "no"]
        assert second["others"] > 0, "it saw the other session's server"
        assert 66000 <= first["uid"] < second["uid"] < 76000
        assert alive(first["child"])
        await world.gateway.revoke([mine.parent.name])
        await until_ended(first["child"])
        assert alive(second["child"])
        started.terminate()
        assert await asyncio.wait_for(started.wait(), 10) == 0
    finally:
        looking.cancel()
        if started.returncode is None:
            started.kill()
