"""Sessions whose sandbox listens on TCP: published without a reload, and without a manager that answers."""

import asyncio
import os
import time
from uuid import uuid4

import aiohttp
import pytest

from jelmore.drivers import caddy_edge
from jelmore.ports import Address
from jelmore.session.errors import RefusedError
from jelmore.session.world import Route
from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, answer, calling, serving, serving_tcp

pytestmark = pytest.mark.integration


async def test_a_session_on_a_port_is_called_like_one_on_a_socket(stand: Stand) -> None:
    """No manager runs here: Caddy finds the address by itself."""
    session_id, runner = uuid4(), Peer("far")
    async with serving_tcp(runner) as at, calling() as client:
        await stand.edge.publish(session_id, at, route=Route.RUNNER)
        assert await stand.edge.route(session_id) is Route.RUNNER
        forged = {"X-Jelmore-Session": str(uuid4()), "X-Jelmore-Address": "127.0.0.1:1"}
        async with client.get(f"{stand.url}/s/{session_id}/health?after=3", headers=forged) as response:
            assert (await answer(response))["name"] == "far"
        assert runner.paths[-1] == "/health?after=3"
        assert runner.seen[-1]["X-Jelmore-Session"] == str(session_id)
        assert runner.seen[-1]["X-Forwarded-For"] == "127.0.0.1"
        assert runner.seen[-1]["X-Forwarded-Host"].startswith("127.0.0.1")
        async with client.ws_connect(f"{stand.url}/s/{session_id}/ws?after=7") as websocket:
            assert runner.paths[-1] == "/ws?after=7"
            await websocket.send_str("hi")
            assert await websocket.receive_str(timeout=10) == "far:hi"


async def test_a_websocket_on_a_port_lives_while_other_sessions_come_and_go(stand: Stand) -> None:
    kept = uuid4()
    async with serving_tcp(Peer("far")) as at, calling() as client:
        await stand.edge.publish(kept, at, route=Route.RUNNER)
        async with client.ws_connect(f"{stand.url}/s/{kept}/ws") as websocket:
            for number in range(50):
                other = uuid4()
                await stand.edge.publish(other, Address(f"tcp:127.0.0.1:{number + 1}"), route=Route.RUNNER)
                await stand.edge.withdraw(other)
            assert not await stand.edge.program()
            await websocket.send_str("still")
            assert await websocket.receive_str(timeout=10) == "far:still"


async def test_a_session_moves_between_ports_sockets_and_the_manager(stand: Stand) -> None:
    session_id = uuid4()
    path = stand.paths.folder(str(session_id)) / "runner.sock"

    async def answered(client: aiohttp.ClientSession) -> object:
        async with client.ws_connect(f"{stand.url}/s/{session_id}/ws") as websocket:
            await websocket.send_str("")
            return (await websocket.receive_str(timeout=10)).removesuffix(":")

    async with (
        serving_tcp(Peer("first")) as first,
        serving_tcp(Peer("second")) as second,
        serving(Peer("near"), path),
        serving(Peer("manager"), stand.paths.manager_socket(0)),
        calling() as client,
    ):
        near = stand.paths.public(str(session_id))
        for to, route, name in (
            (first, Route.RUNNER, "first"),
            (None, Route.MANAGER, "manager"),
            (second, Route.RUNNER, "second"),
            (near, Route.RUNNER, "near"),
            (first, Route.RUNNER, "first"),
        ):
            await stand.edge.publish(session_id, to, route=route)
            assert await stand.edge.route(session_id) is route
            assert await answered(client) == name
        await stand.edge.withdraw(session_id)
        async with client.get(f"{stand.url}/s/{session_id}/health") as response:
            assert (response.status, (await answer(response))["code"]) == (404, "unknown_session")
    assert not list(stand.paths.addresses.iterdir())


async def test_a_port_without_a_listener_is_a_session_that_does_not_answer(stand: Stand) -> None:
    session_id = uuid4()
    async with serving_tcp(Peer("gone")) as at:
        pass
    await stand.edge.publish(session_id, at, route=Route.RUNNER)
    async with calling() as client:
        async with client.get(f"{stand.url}/s/{session_id}/health") as response:
            assert (response.status, (await answer(response))["code"]) == (503, "dependency_away")
            assert response.headers["Retry-After"] == "2"
        stand.paths.address(session_id).unlink()  # as between the two steps of a withdrawal
        async with client.get(f"{stand.url}/s/{session_id}/health") as response:
            assert (response.status, (await answer(response))["code"]) == (404, "unknown_session")


@pytest.mark.parametrize("path", ["/", "/input", "/relay", "/x/ws", "/ws/.."])
async def test_nothing_but_a_runners_own_paths_is_forwarded(stand: Stand, path: str) -> None:
    session_id, runner = uuid4(), Peer("far")
    async with serving_tcp(runner) as at, calling() as client, calling(stand.paths.by_address) as inside:
        await stand.edge.publish(session_id, at, route=Route.RUNNER)
        async with client.get(f"{stand.url}/s/{session_id}{path}") as response:
            assert response.status == 404
        async with inside.get(f"http://caddy{path}", headers={"X-Jelmore-Session": str(session_id)}) as response:
            assert response.status == 404
    assert runner.paths == []


@pytest.mark.parametrize("name", ["", ".", "..", "../secret", "/etc/passwd", "..%2fsecret", "{env.HOME}", "{{1}}"])
async def test_the_lookup_reads_nothing_but_addresses(stand: Stand, name: str) -> None:
    (stand.paths.run_dir / "secret").write_text("127.0.0.1:1")
    headers = {"X-Jelmore-Session": name}
    async with calling(stand.paths.address_lookup) as inside, inside.get("http://caddy/", headers=headers) as response:
        assert response.status >= 400
        assert "X-Jelmore-Address" not in response.headers


@pytest.mark.parametrize(
    "text",
    ["tcp:", "tcp:1", "tcp:a", "tcp:a:0", "tcp:a:65536", "tcp:a b:1", "tcp:{env.HOME}:1", "tcp:a/b:1", "tcp:a:1\n"],
)
async def test_a_malformed_address_is_refused(stand: Stand, text: str) -> None:
    with pytest.raises(RefusedError, match="tcp:host:port"):
        await stand.edge.publish(uuid4(), Address(text), route=Route.RUNNER)
    assert not await stand.edge.routes()


async def test_an_address_that_a_crash_left_is_cleared(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id, left, new = uuid4(), uuid4(), uuid4()
    await stand.edge.publish(session_id, Address("tcp:127.0.0.1:1"), route=Route.RUNNER)
    for each in (left, new):
        stand.paths.address(each).write_text("127.0.0.1:1")
    past = time.time() - 2 * caddy_edge.LEFT_S
    os.utime(stand.paths.address(left), (past, past))
    os.utime(stand.paths.address(session_id), (past, past))
    await stand.edge.program()
    assert {each.name for each in stand.paths.addresses.iterdir()} == {str(session_id), str(new)}


async def test_publishing_a_port_at_once_leaves_one_route(stand: Stand) -> None:
    session_id = uuid4()
    ports = range(1, 21)
    await asyncio.gather(
        *(stand.edge.publish(session_id, Address(f"tcp:127.0.0.1:{port}"), route=Route.RUNNER) for port in ports)
    )
    assert list(await stand.edge.routes()) == [session_id]
    assert len(list(stand.paths.addresses.iterdir())) == 1
