"""Which manager Caddy asks: any that is there, another one when one hangs, and for how long."""

import asyncio
import socket
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import aiohttp
import pytest
from aiohttp import web

from jelmore.drivers import caddy_config
from tests.integration.edge.conftest import Stand
from tests.integration.edge.world import Peer, answer, calling, serving


async def test_any_manager_that_is_there_is_found_also_under_load(stand: Stand) -> None:
    zero, two = Peer("0"), Peer("2")

    async def names(client: aiohttp.ClientSession, count: int) -> list[object]:
        async def one() -> object:
            async with client.post(stand.url + "/api/x", data=b"x" * 1000) as response:
                assert response.status == 200, await response.text()
                body = await answer(response)
                assert body["bytes"] == 1000
                return body["name"]

        return list(await asyncio.gather(*(one() for _ in range(count))))

    async with calling() as client, serving(two, stand.paths.manager_socket(2)):
        async with serving(zero, stand.paths.manager_socket(0)):
            assert set(await names(client, 200)) == {"0", "2"}
        assert set(await names(client, 500)) == {"2"}


async def test_the_socket_of_a_killed_manager_costs_nobody_an_answer(stand: Stand) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stand.paths.manager_socket(1)))
    assert stand.paths.manager_socket(1).is_socket()
    async with serving(Peer("3"), stand.paths.manager_socket(3)), calling() as client:
        for _ in range(20):
            async with client.get(stand.url + "/livez") as response:
                assert response.status == 200


@pytest.fixture
async def hung(stand: Stand) -> AsyncIterator[Stand]:
    """A manager that hangs beside one that works. Its socket takes connections, and nothing is ever answered."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(stand.paths.manager_socket(1)))
        listener.listen(200)
        async with serving(Peer("3"), stand.paths.manager_socket(3)):
            yield stand


async def test_reads_pass_over_a_manager_that_hangs(hung: Stand) -> None:
    async def read(client: aiohttp.ClientSession) -> int:
        async with client.get(hung.url + "/api/v1/sessions") as response:
            return response.status

    async with calling() as client:
        answers = await asyncio.gather(*(read(client) for _ in range(20)))
    assert set(answers) == {200}


class SlowPeer(Peer):
    """Answers a GET only when Caddy has long lost its patience with one that is quick as a rule."""

    async def get(self, request: web.Request) -> web.StreamResponse:
        if request.path != "/readyz":
            await asyncio.sleep(caddy_config.READ_S + 1.5)
        return await super().get(request)


@pytest.mark.parametrize("what", ["diff", "patch", "bundle", "files?archive=tar.gz", "transcript"])
async def test_who_reads_a_whole_workspace_is_asked_once_and_may_take_long(stand: Stand, what: str) -> None:
    peer = SlowPeer("slow")
    async with serving(peer, stand.paths.manager_socket(0)), calling() as client:
        async with client.get(f"{stand.url}/api/v1/sessions/{uuid4()}/{what}") as response:
            assert response.status == 200, await response.text()
        async with client.get(f"{stand.url}/api/v1/sessions") as response:
            assert response.status == 503
    assert len([path for path in peer.paths if what in path]) == 1


async def test_writes_pass_over_a_manager_once_it_was_seen_to_hang(hung: Stand) -> None:
    async def names(client: aiohttp.ClientSession) -> set[object]:
        try:
            async with asyncio.timeout(1):
                return {(await answer(await client.post(hung.url + "/api/x", data=b"x")))["name"] for _ in range(20)}
        except TimeoutError:
            return {"none"}

    async with calling() as client:
        async with asyncio.timeout(15):
            while await names(client) != {"3"}:
                pass


async def test_a_manager_that_starts_in_time_answers_who_waits_for_it(stand: Stand) -> None:
    async with calling() as client:
        posting = asyncio.create_task(client.post(stand.url + "/api/x", data=b"x"), name="posting")
        assert not (await asyncio.wait([posting], timeout=1))[0]
        async with serving(Peer("0"), stand.paths.manager_socket(0)):
            assert (await posting).status == 200


async def test_without_a_manager_the_answer_is_a_problem_that_says_when_to_come_back(stand: Stand) -> None:
    async with calling() as client, client.get(stand.url + "/api/v1/sessions") as response:
        assert response.status == 503
        assert response.content_type == "application/problem+json"
        assert response.headers["Retry-After"] == "2"
        problem = await answer(response)
        assert (problem["code"], problem["status"], problem["retryable"]) == ("dependency_away", 503, True)
        assert problem["type"] == "urn:jelmore:problem:dependency_away"
        assert UUID(str(problem["request_id"])) == UUID(response.headers["X-Request-ID"])
