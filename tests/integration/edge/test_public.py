"""People's side of Caddy: managers that come and go, sessions' own URLs, and what must never be reached."""

import asyncio
import io
import socket
import statistics
import time
from contextlib import AsyncExitStack
from uuid import UUID, uuid4

import aiohttp
import pytest
from yarl import URL

from jelmore.drivers import caddy_config
from jelmore.drivers.caddy_config import BODY_BYTES
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.paths import new_key
from jelmore.ports import Address
from jelmore.session.errors import DependencyError
from jelmore.session.world import Route
from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, answer, calling, serving

pytestmark = pytest.mark.integration


async def _publish(stand: Stand, session_id: UUID) -> None:
    await stand.edge.publish(session_id, stand.paths.public(str(session_id)), route=Route.RUNNER)


async def test_programming_twice_changes_nothing_and_a_lost_state_is_given_again(stand: Stand) -> None:
    assert not await stand.edge.program()
    await stand.caddy.stop()
    with pytest.raises(DependencyError):
        await stand.edge.check()
    with pytest.raises(DependencyError):
        await stand.edge.program()
    for saved in stand.caddy.folder.rglob("autosave.json"):
        saved.unlink()
    await stand.caddy.start()
    async with serving(Peer("0"), stand.paths.manager_socket(0)), calling() as client:
        with pytest.raises(aiohttp.ClientConnectionError):
            await client.get(stand.url + "/livez")
        assert await stand.edge.program()
        assert not await stand.edge.program()
        async with client.get(stand.url + "/livez") as response:
            assert (await answer(response))["name"] == "0"


async def test_a_restart_with_resume_serves_without_a_manager_to_program_it(stand: Stand) -> None:
    session_id = uuid4()
    async with serving(Peer("runner"), stand.paths.folder(str(session_id)) / "runner.sock"), calling() as client:
        await _publish(stand, session_id)
        await stand.caddy.stop()
        await stand.caddy.start()
        async with client.get(f"{stand.url}/s/{session_id}/health") as response:
            assert (await answer(response))["name"] == "runner"
        assert not await stand.edge.program()


async def test_a_websocket_lives_while_a_hundred_other_sessions_come_and_go(stand: Stand) -> None:
    kept = uuid4()
    others = [uuid4() for _ in range(100)]
    costs = []
    async with serving(Peer("a"), stand.paths.folder(str(kept)) / "runner.sock"), calling() as client:
        await _publish(stand, kept)
        async with client.ws_connect(f"{stand.url}/s/{kept}/ws") as websocket:
            for number, other in enumerate(others):
                began = time.perf_counter()
                await _publish(stand, other)
                costs.append(time.perf_counter() - began)
                await websocket.send_str(str(number))
                assert await websocket.receive_str(timeout=10) == f"a:{number}"
            assert set(await stand.edge.routes()) == {kept, *others}
            for other in others:
                await stand.edge.withdraw(other)
                await stand.edge.withdraw(other)
            await stand.edge.program()
            await websocket.send_str("end")
            assert await websocket.receive_str(timeout=10) == "a:end"
    print(f"publish: median {statistics.median(costs) * 1e6:.0f} microseconds")
    assert list(await stand.edge.routes()) == [kept]


async def test_a_websocket_lives_through_a_change_of_the_configuration(
    stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    session_id = uuid4()
    async with serving(Peer("a"), stand.paths.folder(str(session_id)) / "runner.sock"), calling() as client:
        await _publish(stand, session_id)
        async with client.ws_connect(f"{stand.url}/s/{session_id}/ws") as websocket:
            for read_s in (2, 1):
                monkeypatch.setattr(caddy_config, "READ_S", read_s)
                assert await stand.edge.program()
            await websocket.send_str("still")
            assert await websocket.receive_str(timeout=10) == "a:still"


async def test_two_managers_may_program_at_once(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caddy_config, "READ_S", 2)
    edges = [CaddyEdge(stand.options, admin_socket=stand.caddy.admin) for _ in range(4)]
    changed = await asyncio.gather(*(edge.program() for edge in edges))
    assert any(changed)
    assert not await edges[0].program()


async def test_a_stream_is_passed_on_as_it_is_written(stand: Stand) -> None:
    peer = Peer("manager")
    async with (
        serving(peer, stand.paths.manager_socket(2)),
        calling() as client,
        client.get(f"{stand.url}/api/v1/sessions/x/stream") as response,
    ):
        assert await asyncio.wait_for(response.content.readline(), 10) == b"data: first\n"
        assert peer.first_sent.is_set()
        peer.go_on.set()
        assert b"second" in await asyncio.wait_for(response.content.read(), 10)


async def test_a_session_is_called_by_its_own_paths_and_named_to_who_answers(stand: Stand) -> None:
    session_id, runner = uuid4(), Peer("runner")
    async with serving(runner, stand.paths.folder(str(session_id)) / "runner.sock"), calling() as client:
        await _publish(stand, session_id)
        assert await stand.edge.route(session_id) is Route.RUNNER
        for asked, seen in (("/health?after=3", "/health?after=3"), ("/health", "/health")):
            forged = {"X-Jelmore-Session": "forged"}
            async with client.get(f"{stand.url}/s/{session_id}{asked}", headers=forged) as response:
                assert response.status == 200
            assert runner.paths[-1] == seen
            assert runner.seen[-1]["X-Jelmore-Session"] == str(session_id)
            assert runner.seen[-1]["X-Forwarded-Host"].startswith("127.0.0.1")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "", 404),
        ("GET", "/", 404),
        ("GET", "/containers/json", 404),
        ("GET", "/ws/x", 404),
        ("GET", "/a%2Fb", 404),
        ("GET", "/config/", 404),
        ("POST", "/health", 405),
        ("POST", "/ws", 405),
        ("DELETE", "/input", 404),
    ],
)
async def test_nothing_but_a_runners_own_paths_and_methods_is_passed_on(
    stand: Stand, method: str, path: str, status: int
) -> None:
    session_id, runner = uuid4(), Peer("runner")
    async with serving(runner, stand.paths.folder(str(session_id)) / "runner.sock"), calling() as client:
        await _publish(stand, session_id)
        url = URL(f"{stand.url}/s/{session_id}{path}", encoded=True)
        async with client.request(method, url) as response:
            assert response.status == status
            assert response.content_type == "application/problem+json"
    assert runner.paths == []


@pytest.mark.parametrize("before", [True, False], ids=["before it is published", "after"])
async def test_a_link_in_a_sandboxs_folder_leads_nobody_elsewhere(stand: Stand, *, before: bool) -> None:
    """Code in the sandbox replaces its socket by a link to a neighbour's."""
    key, session_id, neighbour = new_key(), uuid4(), Peer("neighbour")
    stand.paths.make_folder(key)
    inner = stand.paths.inner(key) / "runner.sock"
    elsewhere = stand.paths.folder(str(uuid4())) / "runner.sock"
    public = stand.paths.public(key)
    async with serving(neighbour, elsewhere), calling() as client:
        if before:
            inner.symlink_to(elsewhere)
            await stand.edge.publish(session_id, public, route=Route.RUNNER)
        else:
            async with serving(Peer("own"), inner):
                await stand.edge.publish(session_id, public, route=Route.RUNNER)
                inner.unlink(missing_ok=True)
                inner.symlink_to(elsewhere)
                async with client.get(f"{stand.url}/s/{session_id}/health") as response:
                    assert (await answer(response))["name"] == "own"
        async with client.get(f"{stand.url}/s/{session_id}/health") as response:
            assert response.status in {404, 503}
    assert neighbour.paths == []


async def test_a_route_never_leads_to_what_is_no_socket(stand: Stand) -> None:
    folder = stand.paths.folder(str(uuid4()))
    folder.mkdir()
    (folder / "runner.sock").symlink_to(stand.paths.admin_socket)
    session_id = uuid4()
    with pytest.raises(DependencyError, match="not a socket"):
        await stand.edge.publish(session_id, stand.paths.public(folder.name), route=Route.RUNNER)
    assert await stand.edge.route(session_id) is Route.ABSENT


async def test_a_sleeping_session_is_answered_by_whichever_manager_is_there(stand: Stand) -> None:
    session_id = uuid4()
    gone = Address(f"unix:{stand.paths.manager_socket(0)}")
    await stand.edge.publish(session_id, gone, route=Route.MANAGER)
    assert await stand.edge.route(session_id) is Route.MANAGER
    async with calling() as client:
        for slot in (3, 1):
            peer = Peer(str(slot))
            async with serving(peer, stand.paths.manager_socket(slot)):
                async with client.ws_connect(f"{stand.url}/s/{session_id}/ws") as websocket:
                    await websocket.send_str("hi")
                    assert await websocket.receive_str(timeout=10) == f"{slot}:hi"
                assert peer.paths[-1] == "/ws"
                assert peer.seen[-1]["X-Jelmore-Session"] == str(session_id)
                assert peer.seen[-1]["X-Forwarded-Host"].startswith("127.0.0.1")
                assert peer.seen[-1]["X-Forwarded-For"].startswith("127.0.0.1")
        async with client.get(f"{stand.url}/s/{session_id}/ws") as response:
            assert response.status == 503
    await _publish(stand, session_id)
    assert await stand.edge.route(session_id) is Route.RUNNER


@pytest.mark.parametrize("path", ["/internal/x", "/%69nternal/x", "/api/v1/sessions", "/metrics", "/ws/x", ""])
async def test_the_url_of_a_sleeping_session_gives_no_other_access_to_the_manager(stand: Stand, path: str) -> None:
    session_id = uuid4()
    manager = Peer("0")
    async with serving(manager, stand.paths.manager_socket(0)), calling() as client:
        await stand.edge.publish(session_id, Address(f"unix:{stand.paths.manager_socket(0)}"), route=Route.MANAGER)
        async with client.get(URL(f"{stand.url}/s/{session_id}{path}", encoded=True)) as response:
            assert response.status == 404
        async with client.get(f"{stand.url}/s/{session_id}/health") as response:
            assert await answer(response) == {"status": "ok"}
    assert manager.paths == []


async def test_a_client_cannot_name_a_session_to_the_manager(stand: Stand) -> None:
    manager = Peer("0")
    forged = {"X-Jelmore-Session": str(uuid4())}
    async with (
        serving(manager, stand.paths.manager_socket(0)),
        calling() as client,
        client.get(stand.url + "/api/x", headers=forged) as response,
    ):
        assert (await answer(response))["session"] is None


async def test_an_unknown_session_is_a_problem_and_not_a_bad_gateway(stand: Stand) -> None:
    for path in (f"/s/{uuid4()}/ws", f"/s/{uuid4()}", "/s/nonsense/ws", "/s/"):
        async with calling() as client, client.get(URL(stand.url + path, encoded=True)) as response:
            assert response.status == 404, path
            assert response.content_type == "application/problem+json"
            assert (await answer(response))["code"] == "unknown_session"


async def test_a_runner_that_does_not_answer_is_not_called_unknown(stand: Stand) -> None:
    session_id = uuid4()
    path = stand.paths.folder(str(session_id)) / "runner.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    await _publish(stand, session_id)
    async with calling() as client, client.get(f"{stand.url}/s/{session_id}/health") as response:
        assert response.status == 503
        assert (await answer(response))["code"] == "dependency_away"


@pytest.mark.parametrize(
    "path",
    ["/internal/x", "/internal", "//internal/x", "/x/../internal/x", "/%69nternal/x"],
)
async def test_what_is_internal_stays_internal(stand: Stand, path: str) -> None:
    manager = Peer("0")
    async with (
        serving(manager, stand.paths.manager_socket(0)),
        calling() as client,
        client.get(URL(stand.url + path, encoded=True)) as response,
    ):
        assert response.status == 404
    assert manager.paths == []


async def test_a_body_has_a_bound(stand: Stand) -> None:
    async with serving(Peer("0"), stand.paths.manager_socket(0)), calling() as client:
        size = BODY_BYTES + 1
        async with client.post(stand.url + "/api/v1/sessions", data=io.BytesIO(b"x" * size)) as response:
            assert response.status == 413
            assert (await answer(response))["code"] == "too_large"


async def test_an_upload_has_the_managers_bound_alone(stand: Stand) -> None:
    async with serving(Peer("0"), stand.paths.manager_socket(0)), calling() as client:
        size = 65 * 1024 * 1024
        async with client.put(stand.url + "/api/v1/sessions/x/files/a/b", data=io.BytesIO(b"x" * size)) as response:
            assert (await answer(response))["bytes"] == size
        form = {"Content-Type": "multipart/form-data; boundary=b"}
        for path in ("/api/v1/sessions", "/api/v1/session", "/api/sessions"):
            sent = io.BytesIO(b"x" * (BODY_BYTES + 1))
            async with client.post(stand.url + path, data=sent, headers=form) as response:
                assert (await answer(response))["bytes"] == BODY_BYTES + 1
        sent = io.BytesIO(b"x" * (BODY_BYTES + 1))
        async with client.post(stand.url + "/api/v1/sessions/x/input", data=sent, headers=form) as response:
            assert response.status == 413


async def test_what_it_costs_that_three_of_four_managers_are_absent(stand: Stand) -> None:
    async def median_us(client: aiohttp.ClientSession) -> float:
        costs = []
        for _ in range(300):
            began = time.perf_counter()
            async with client.get(stand.url + "/livez") as response:
                assert response.status == 200
            costs.append(time.perf_counter() - began)
        return statistics.median(costs) * 1e6

    async with calling() as client, AsyncExitStack() as managers:
        await managers.enter_async_context(serving(Peer("2"), stand.paths.manager_socket(2)))
        alone = await median_us(client)
        for slot in (0, 1, 3):
            await managers.enter_async_context(serving(Peer(str(slot)), stand.paths.manager_socket(slot)))
        print(f"one of four managers there: {alone:.0f} microseconds; all four: {await median_us(client):.0f}")
