"""What `Edge` promises of routes, on the fake and on the folder that Caddy dials into."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from jelmore.drivers.caddy_config import EdgeOptions
from jelmore.drivers.caddy_edge import CaddyEdge
from jelmore.drivers.paths import RunPaths
from jelmore.ports import Address, Edge
from jelmore.session.errors import DependencyError, RefusedError
from jelmore.session.world import Route
from tests.fakes.edge import FakeEdge

pytestmark = pytest.mark.contract


@pytest.fixture(params=["fake", "caddy"])
def edge(request: pytest.FixtureRequest) -> Iterator[Edge]:
    """An edge whose Caddy is away: routes do not need it."""
    if request.param == "fake":
        yield FakeEdge(away=True)
        return
    folder = Path(tempfile.mkdtemp(prefix="jm-"))
    paths = RunPaths(folder / "run")
    paths.prepare()
    yield CaddyEdge(EdgeOptions(paths, "http://localhost", ":80", ":443", "acme"))
    shutil.rmtree(folder)


async def test_a_route_is_there_from_publishing_to_withdrawing(edge: Edge) -> None:
    session_id, other = uuid4(), uuid4()
    runner, manager = Address("unix:/a/runner.sock"), Address("unix:/a/0.sock")
    assert await edge.route(session_id) is Route.ABSENT
    await edge.publish(other, runner, route=Route.RUNNER)
    for to, route in ((runner, Route.RUNNER), (runner, Route.RUNNER), (manager, Route.MANAGER), (runner, Route.RUNNER)):
        await edge.publish(session_id, to, route=route)
        assert await edge.route(session_id) is route
    assert set(await edge.routes()) == {session_id, other}
    for _ in range(2):
        await edge.withdraw(session_id)
        assert await edge.route(session_id) is Route.ABSENT
    assert list(await edge.routes()) == [other]


async def test_publishing_at_once_leaves_one_route(edge: Edge) -> None:
    session_id = uuid4()
    await asyncio.gather(
        *(edge.publish(session_id, Address(f"unix:/a/{number}.sock"), route=Route.RUNNER) for number in range(20))
    )
    assert list(await edge.routes()) == [session_id]


async def test_a_port_is_published_like_a_socket(edge: Edge) -> None:
    session_id = uuid4()
    for text, route in (
        ("tcp:10.0.0.7:8000", Route.RUNNER),
        ("unix:/a/runner.sock", Route.RUNNER),
        ("tcp:[::1]:8001", Route.RUNNER),
        ("tcp:host-1.pods:8000", Route.MANAGER),
        ("tcp:host-1.pods:8000", Route.RUNNER),
    ):
        await edge.publish(session_id, Address(text), route=route)
        assert await edge.route(session_id) is route
    await edge.withdraw(session_id)
    assert await edge.route(session_id) is Route.ABSENT


@pytest.mark.parametrize("text", ["http://a", "a", "", "pipe:/a", "tcp:a b:1", "tcp: a:1"])
async def test_an_address_of_another_kind_is_refused(edge: Edge, text: str) -> None:
    with pytest.raises(RefusedError):
        await edge.publish(uuid4(), Address(text), route=Route.RUNNER)
    with pytest.raises(RefusedError):
        await edge.publish(uuid4(), None, route=Route.RUNNER)


async def test_an_absent_proxy_is_reported(edge: Edge) -> None:
    for attempt in (edge.check(), edge.program()):
        with pytest.raises(DependencyError):
            await attempt
